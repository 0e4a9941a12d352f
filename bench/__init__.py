"""Benchmarks of Timbres, each compared with a limit or a typical implementation in the same run."""
