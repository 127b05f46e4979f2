# The wheels' CMake exports name include folders of the machine that built them (/opt/python/...). They do not
# exist here and CMake refuses targets that use them, so they are taken out once all packages are found.
function(_drop_include_paths_of_the_build_machine)
  get_property(TARGETS DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(TARGET IN LISTS TARGETS)
    get_target_property(PATHS ${TARGET} INTERFACE_INCLUDE_DIRECTORIES)
    if(PATHS)
      list(FILTER PATHS EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${TARGET} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PATHS}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL _drop_include_paths_of_the_build_machine)
