#include "anydraft/version.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

// The version is written once; the tests run in the repository's root.
TEST(Version, IsTheOneInPyproject) {
  std::ifstream file("pyproject.toml");
  const std::string wanted = "version = \"" + std::string(anydraft::version()) + "\"";
  bool found = false;
  for (std::string line; std::getline(file, line);) found = found || line.rfind(wanted, 0) == 0;
  EXPECT_TRUE(found) << wanted;
}
