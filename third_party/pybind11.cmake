# pybind11 from the Python environment (pyproject.toml's build-system.requires), or the system's.
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 3 CONFIG REQUIRED)
