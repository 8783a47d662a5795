//! Writes the shader of every objective, and those of an output layer, as WGSL files into a folder: for compilers other than naga. Needs no device.
//!
//! ```text
//! cargo run -p surprisal-gpu --example shaders -- DIR
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use surprisal::objective::{Objective, Real, Token};
use surprisal_gpu::{Destination, batch_shader_source, linear_shader_sources, shader_source};
use surprisal_tests::cases::objectives;

/// An objective of a user.
struct Tempered;

impl Objective for Tempered {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -((t.log_p * 0.5).exp().stop() * t.log_p)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: shaders DIR")?);
    fs::create_dir_all(&folder)?;
    let mut files = 0;
    for destination in Destination::ALL {
        let mut write = |name: String, source: String| {
            files += 1;
            fs::write(folder.join(format!("{name}-{destination:?}.wgsl")), source)
        };
        for (index, objective) in objectives().iter().enumerate() {
            let name = format!("{index:02}-{}", objective.name());
            write(name, shader_source(objective, destination))?;
        }
        write("user".to_owned(), shader_source(&Tempered, destination))?;
    }
    fs::write(folder.join("batch.wgsl"), batch_shader_source())?;
    files += 1;
    for (name, source) in linear_shader_sources() {
        files += 1;
        fs::write(folder.join(format!("linear-{name}.wgsl")), source)?;
    }
    println!("{files} shaders in {}", folder.display());
    Ok(())
}
