"""An OpenAI-compatible server over `AsyncSession`: one process, one pair of models.

>>> from anydraft import SpeculativeSession
>>> from anydraft.serve import ServerOptions, create_app, run
>>> session = SpeculativeSession.from_pretrained("target.gguf", "lookup")  # doctest: +SKIP
>>> run(create_app(session, ServerOptions(name="target")))  # doctest: +SKIP
"""

from anydraft.serve.app import create_app
from anydraft.serve.options import ServerOptions
from anydraft.serve.run import run

__all__ = ["ServerOptions", "create_app", "run"]
