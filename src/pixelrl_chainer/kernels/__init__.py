"""Fast CPU and GPU kernels behind the package's plain functions; import the modules one by one."""
