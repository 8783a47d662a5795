//! The programs that show `surprisal` at work. This package has no library of its own: the programs
//! are its examples, and `cargo run --release --example finetune` is the one to start with.
