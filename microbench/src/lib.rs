//! Nothing: the benchmarks are in `benches/`, so that no test builds them. `make microbench` runs them.
