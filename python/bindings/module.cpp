#include "anydraft/version.h"
#include "bind.h"

PYBIND11_MODULE(_core, module) {
  using namespace anydraft::bindings;
  module.doc() = "The native engine. Tensors are any object with `__dlpack__` or a buffer.";
  module.attr("__version__") = anydraft::version();
  // A type before what names it: signatures say its name then.
  bind_errors(module);
  bind_sampling(module);
  bind_verify(module);
  bind_vocabulary(module);
  bind_cuda(module);
  bind_vocabulary_file(module);
  bind_engine(module);
  bind_drafter(module);
  bind_testing(module);
  bind_decoder(module);
}
