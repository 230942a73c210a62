//! Compiles and checks the code and the module files in the documentation.
