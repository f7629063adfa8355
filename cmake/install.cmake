# SPDX-License-Identifier: Apache-2.0
# `cmake --install` lays down the headers, the static libraries and a package, so that another project may say
#   find_package(regard REQUIRED)
#   target_link_libraries(app PRIVATE regard::regard)      # or regard::regard_tbb, which brings regard::regard
# or, with the Torch package of PyTorch's wheel in CMAKE_PREFIX_PATH,
#   find_package(regard REQUIRED COMPONENTS nn)
#   target_link_libraries(app PRIVATE regard::nn)          # the sequence models over libtorch; also
#                                                          # regard::train, regard::generate, regard::text,
#                                                          # regard::image_processor
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
  set(REGARD_NN_INSTALLED regard_nn regard_torch_ops regard_files regard_formats)
  if(TARGET regard_train)
    list(APPEND REGARD_NN_INSTALLED regard_text regard_generate regard_train)
  endif()
  if(TARGET regard_image_processor)
    list(APPEND REGARD_NN_INSTALLED regard_image regard_image_processor)
  endif()
  if(TARGET regard_train_detection)
    list(APPEND REGARD_NN_INSTALLED regard_train_detection)
  endif()
  if(TARGET regard_tokenizers)
    list(APPEND REGARD_NN_INSTALLED regard_tokenizers)
  endif()
  install(TARGETS ${REGARD_NN_INSTALLED} EXPORT regard_nn_targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
  install(EXPORT regard_nn_targets NAMESPACE regard:: FILE regardNnTargets.cmake
          DESTINATION ${REGARD_PACKAGE_DIR} COMPONENT cpp)
endif()

set(REGARD_IMAGES OFF)
if(TARGET regard_image_processor)
  set(REGARD_IMAGES ON)
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/regardConfig.cmake.in ${PROJECT_BINARY_DIR}/regardConfig.cmake
                              INSTALL_DESTINATION ${REGARD_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/regardConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/regardConfig.cmake ${PROJECT_BINARY_DIR}/regardConfigVersion.cmake
        DESTINATION ${REGARD_PACKAGE_DIR} COMPONENT cpp)

# The program: bin/regard, which finds libtorch where it was built with it.
if(TARGET regard_cli)
  install(TARGETS regard_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT cli)
endif()

# The wheel (pyproject.toml) is made of this component and the Python files.
if(TARGET regard_torch)
  install(TARGETS regard_torch LIBRARY DESTINATION regard COMPONENT python)
  add_custom_target(regard_wheel DEPENDS regard_torch $<TARGET_NAME_IF_EXISTS:regard_cli>)
endif()
# With the program go the libraries that a machine without SentencePiece and FreeType lacks; libtorch is that of
# the torch package (python/regard/_program.py says where).
if(DEFINED SKBUILD AND TARGET regard_cli)
  install(TARGETS regard_cli RUNTIME_DEPENDENCY_SET regard_cli_libraries
          RUNTIME DESTINATION regard/bin COMPONENT python)
  find_package(Python REQUIRED COMPONENTS Interpreter)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import importlib.metadata as m; print(m.version('torch').split('+')[0])"
    OUTPUT_VARIABLE REGARD_TORCH_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  file(WRITE ${PROJECT_BINARY_DIR}/torch-version "${REGARD_TORCH_VERSION}\n")
  install(FILES ${PROJECT_BINARY_DIR}/torch-version DESTINATION regard/bin COMPONENT python)
  install(RUNTIME_DEPENDENCY_SET regard_cli_libraries
          PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s|gomp|torch.*|c10)\\.so.*" "^ld-linux.*"
          LIBRARY DESTINATION regard/bin COMPONENT python)
endif()
