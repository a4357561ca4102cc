"""mien beside the package `fer`: accuracy, time, memory and size of the installation."""
