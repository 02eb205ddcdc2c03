"""transformers models as the models of a session: `load`, then hand it to SpeculativeSession."""

from anydraft.hf.feeds import Feed
from anydraft.hf.loading import load
from anydraft.hf.model import HfModel

__all__ = ["Feed", "HfModel", "load"]
