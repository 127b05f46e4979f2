# Named by CMAKE_TOOLCHAIN_FILE while this prefix is sourced (CMake >= 3.21 reads it from the environment).
set(CMAKE_PROJECT_INCLUDE "${CMAKE_CURRENT_LIST_DIR}/include_paths.cmake")
