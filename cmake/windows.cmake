# Toolchain file: cross-compiling for Windows with Clang and the headers and libraries of MinGW; Wine runs the tests.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(CMAKE_CXX_COMPILER clang++)
set(CMAKE_CXX_COMPILER_TARGET x86_64-w64-mingw32)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_CROSSCOMPILING_EMULATOR wine)
# Clang does not look where Debian has MinGW's libraries.
find_program(mingw x86_64-w64-mingw32-g++-posix REQUIRED)
execute_process(COMMAND ${mingw} -print-libgcc-file-name OUTPUT_VARIABLE gcc OUTPUT_STRIP_TRAILING_WHITESPACE)
get_filename_component(gcc ${gcc} DIRECTORY)
set(CMAKE_CXX_FLAGS_INIT "-isystem ${gcc}/include/c++ -isystem ${gcc}/include/c++/x86_64-w64-mingw32")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-fuse-ld=lld -static -L${gcc}")
# In the cache, where CMake keeps what it would take instead.
set(CMAKE_CXX_STANDARD_LIBRARIES "-lwinpthread" CACHE STRING "of all programs")
