//! Writes pipelines of a loss as SPIR-V into a folder, as wgpu hands them to Vulkan: for tests/isa, which counts what a compiler makes of them. Needs
//! no device.
//!
//! ```text
//! cargo run -p surprisal-gpu --example spirv -- DIR
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use naga::back::pipeline_constants::process_overrides;
use naga::back::spv::{Options, PipelineOptions, write_vec};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use surprisal::objective::Dft;
use surprisal_gpu::{Destination, shader_source};

/// What is counted: an entry point, and the types of logits and gradient. Nothing is asked for; `fused` also with all options, and with rows held.
const PIPELINES: [(&str, &str, &str); 9] = [
    ("row_stats", "f32", "f32"),
    ("row_stats", "bf16", "bf16"),
    ("row_stats", "f16", "f16"),
    ("logits_grad", "f32", "f32"),
    ("logits_grad", "bf16", "bf16"),
    ("logits_grad", "bf16", "f32"),
    ("logits_grad", "f16", "f16"),
    ("fused", "f32", "f32"),
    ("fused", "bf16", "bf16"),
];

/// Invocations that share a row, and blocks that each of them holds.
const HELD: [(u32, u32); 4] = [(32, 4), (256, 2), (512, 4), (512, 8)];

/// As the shader numbers them.
fn number(dtype: &str) -> f64 {
    match dtype {
        "f32" => 0.0,
        "bf16" => 1.0,
        _ => 2.0,
    }
}

/// As wgpu's Vulkan sets them for a device that checks the bounds of buffers itself.
fn options() -> Options<'static> {
    Options {
        lang_version: (1, 5),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: naga::back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        ..Options::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: spirv DIR")?);
    fs::create_dir_all(&folder)?;
    let source = shader_source(&Dft, Destination::Separate);
    let module = naga::front::wgsl::parse_str(&source)?;
    let mut validator = Validator::new(ValidationFlags::default(), Capabilities::empty());
    let info = validator.validate(&module)?;
    let pipelines = PIPELINES.map(|pipeline| (pipeline, String::new(), 0.0, [256, 0]));
    let fused = PIPELINES[7..].iter();
    let with_everything = fused.clone().map(|&of| (of, "-everything".into(), 1.0, [256, 0]));
    let held = HELD.iter().flat_map(|&(lanes, blocks)| {
        let name = format!("-held {blocks} by {lanes}");
        fused.clone().map(move |&of| (of, name.clone(), 0.0, [lanes, blocks]))
    });
    let all = pipelines.into_iter().chain(with_everything).chain(held);
    for ((entry, logits, result), suffix, asked, [lanes, held]) in all {
        let constants = HashMap::from([
            ("LOGITS".to_owned(), number(logits)),
            ("RESULT".to_owned(), number(result)),
            ("LANES".to_owned(), lanes.into()),
            ("HELD".to_owned(), held.into()),
            ("SOFTCAP".to_owned(), asked),
            ("SMOOTHING".to_owned(), asked),
            ("MOMENTS".to_owned(), asked),
        ]);
        let stage = naga::ShaderStage::Compute;
        let (module, info) = process_overrides(
            &module,
            &info,
            Some((stage, entry)),
            &constants.into_iter().collect(),
        )?;
        let pipeline = PipelineOptions { shader_stage: stage, entry_point: entry.to_owned() };
        let words = write_vec(&module, &info, &options(), Some(&pipeline))?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(folder.join(format!("{entry}-{logits}-{result}{suffix}.spv")), bytes)?;
    }
    Ok(())
}
