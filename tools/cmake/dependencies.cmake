# Finds what the project stands on. Versions are floors; whatever the distribution ships above them is taken.
# Packages for Debian: tools/dependencies.

find_package(Threads REQUIRED)
find_package(Boost 1.81 CONFIG REQUIRED COMPONENTS json)
find_package(fmt 9 REQUIRED)
find_package(OpenSSL 3 REQUIRED COMPONENTS Crypto SSL)
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash>=0.8.1)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd>=1.4)
pkg_check_modules(libnbd REQUIRED IMPORTED_TARGET libnbd>=1.14)

# Nothing of these shows in a public header; package.cmake and reprotectConfig.cmake.in name them again for static links.
set(REPROTECT_PRIVATE_LIBRARIES
    Boost::json fmt::fmt OpenSSL::SSL OpenSSL::Crypto PkgConfig::libnbd PkgConfig::xxhash PkgConfig::zstd)

file(GLOB tool_sources CONFIGURE_DEPENDS tools/reprotect/*.cpp)
if(tool_sources)
    find_package(CLI11 2.1 REQUIRED)
endif()
