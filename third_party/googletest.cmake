# GoogleTest: Debian's sources where fetch_googletest.sh unpacked them, else the system's library.
# Sets anydraft_gtest_target.
set(ANYDRAFT_GTEST_ROOT "" CACHE PATH
    "Folder where Debian's package googletest was unpacked; empty: the system's GoogleTest")
if(NOT ANYDRAFT_GTEST_ROOT)
  find_package(GTest REQUIRED)
  set(anydraft_gtest_target GTest::gtest_main)
  return()
endif()

set(anydraft_gtest_target anydraft_gtest)
if(TARGET anydraft_gtest)
  return()
endif()
set(gtest_source ${ANYDRAFT_GTEST_ROOT}/usr/src/googletest/googletest)
if(NOT EXISTS ${gtest_source}/src/gtest-all.cc)
  message(FATAL_ERROR "anydraft: ANYDRAFT_GTEST_ROOT expected Debian's googletest unpacked in "
    "${ANYDRAFT_GTEST_ROOT}, found no ${gtest_source}/src/gtest-all.cc")
endif()
find_package(Threads REQUIRED)
add_library(anydraft_gtest STATIC EXCLUDE_FROM_ALL
  ${gtest_source}/src/gtest-all.cc ${gtest_source}/src/gtest_main.cc)
target_include_directories(anydraft_gtest SYSTEM PUBLIC ${gtest_source}/include)
target_include_directories(anydraft_gtest PRIVATE ${gtest_source})
target_compile_features(anydraft_gtest PUBLIC cxx_std_17)
target_link_libraries(anydraft_gtest PUBLIC Threads::Threads)
