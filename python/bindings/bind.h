// One bind_x(module) a domain; no logic.
#pragma once

#include <pybind11/pybind11.h>

namespace anydraft::bindings {

void bind_errors(pybind11::module_& module);
void bind_sampling(pybind11::module_& module);
void bind_cuda(pybind11::module_& module);
void bind_verify(pybind11::module_& module);
void bind_vocabulary(pybind11::module_& module);
void bind_vocabulary_file(pybind11::module_& module);
void bind_engine(pybind11::module_& module);
void bind_drafter(pybind11::module_& module);
void bind_decoder(pybind11::module_& module);
void bind_testing(pybind11::module_& module);

}  // namespace anydraft::bindings
