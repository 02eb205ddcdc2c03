// Which instruction set the engine uses: the best this machine runs, unless a test or bench
// chooses.
#pragma once

#include <string>
#include <vector>

namespace anydraft::detail {

std::vector<std::string> instruction_sets();             // those this machine runs, the best last
void use_instruction_set(const std::string& name = "");  // "" or an unknown one: the best

}  // namespace anydraft::detail
