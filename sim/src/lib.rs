//! Whole Kakera networks in one process: virtual time, one seed, and the very state machines that the processes run.
