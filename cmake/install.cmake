# `cmake --install` lays down the headers, the static libraries and a package, so that another project may say
#   find_package(regard REQUIRED)
#   target_link_libraries(app PRIVATE regard::regard)      # or regard::regard_tbb, which brings regard::regard
# or, with the Torch package of PyTorch's wheel in CMAKE_PREFIX_PATH,
#   find_package(regard REQUIRED COMPONENTS nn)
#   target_link_libraries(app PRIVATE regard::nn)          # the sequence models over libtorch
# tests/consumer is such a project.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(REGARD_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/regard)
set(REGARD_INSTALLED regard)
if(REGARD_TBB)
  list(APPEND REGARD_INSTALLED regard_tbb)
endif()

install(TARGETS ${REGARD_INSTALLED} EXPORT regard_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
install(EXPORT regard_targets NAMESPACE regard:: FILE regardTargets.cmake DESTINATION ${REGARD_PACKAGE_DIR} COMPONENT cpp)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/regard DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp)
if(TARGET regard_nn)
  # Targets of their own: who does not ask for them needs no Torch.
  install(TARGETS regard_nn regard_torch_ops regard_files EXPORT regard_nn_targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
  install(EXPORT regard_nn_targets NAMESPACE regard:: FILE regardNnTargets.cmake
          DESTINATION ${REGARD_PACKAGE_DIR} COMPONENT cpp)
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/regardConfig.cmake.in ${PROJECT_BINARY_DIR}/regardConfig.cmake
                              INSTALL_DESTINATION ${REGARD_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/regardConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/regardConfig.cmake ${PROJECT_BINARY_DIR}/regardConfigVersion.cmake
        DESTINATION ${REGARD_PACKAGE_DIR} COMPONENT cpp)

# The wheel (pyproject.toml) is made of this component and the Python files.
if(TARGET regard_torch)
  install(TARGETS regard_torch LIBRARY DESTINATION regard COMPONENT python)
endif()
