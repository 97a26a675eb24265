# Install, and both ways for another project to find what was installed: find_package(reprotect) and pkg-config.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/reprotect)
install(TARGETS reprotect EXPORT reprotect-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET reprotect_tool)
    install(TARGETS reprotect_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    if(BUILD_SHARED_LIBS)
        file(RELATIVE_PATH to_library ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
        set_target_properties(reprotect_tool PROPERTIES INSTALL_RPATH "$ORIGIN/${to_library}")
    endif()
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/tools/completion/reprotect.bash)
    install(FILES tools/completion/reprotect.bash
            DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME reprotect)
endif()

install(EXPORT reprotect-targets NAMESPACE reprotect:: DESTINATION ${package_folder})
configure_package_config_file(tools/cmake/reprotectConfig.cmake.in ${PROJECT_BINARY_DIR}/reprotectConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/reprotectConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/reprotectConfig.cmake ${PROJECT_BINARY_DIR}/reprotectConfigVersion.cmake
        DESTINATION ${package_folder})

# A prefix that is only known at install time ("cmake --install --prefix") still fits: the file speaks of its own folder.
file(RELATIVE_PATH pc_prefix /usr/${CMAKE_INSTALL_LIBDIR}/pkgconfig /usr)
set(pc_requires_private "fmt libcrypto libnbd libxxhash libzstd")
set(pc_libs_private "-lboost_json -lpthread")
if(BUILD_SHARED_LIBS)
    set(pc_requires_static "")
    set(pc_libs_static "")
else()
    # A static library has no dependencies of its own, so everybody needs them on the link line.
    set(pc_requires_static "${pc_requires_private}")
    set(pc_libs_static " ${pc_libs_private}")
endif()
configure_file(tools/cmake/reprotect.pc.in ${PROJECT_BINARY_DIR}/reprotect.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/reprotect.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
