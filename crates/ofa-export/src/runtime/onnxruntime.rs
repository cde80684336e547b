//! Microsoft's ONNX Runtime, from the shared library that the user has.

use super::{Run, Runtime, Session, SessionOptions, Values};
use crate::error::RuntimeError;
use ort::environment::Environment;
use ort::session::Session as OrtSession;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

/// A network in ONNX Runtime.
pub(super) struct OnnxRuntime {
    session: OrtSession,
    name: String,
    label: &'static str,
}

/// The variable that names the library, as everywhere with `ort`.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// One library and one environment a process.
static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();

struct Library {
    environment: Environment,
    version: String,
}

fn library() -> Result<&'static Library, String> {
    LIBRARY.get_or_init(open).as_ref().map_err(Clone::clone)
}

fn open() -> Result<Library, String> {
    let file = match std::env::var_os(LIBRARY_VARIABLE) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX).into(),
    };
    let advice = format!(
        "set {LIBRARY_VARIABLE} to an onnxruntime library, such as capi/libonnxruntime.so.* of the Python package"
    );
    // `ort` looks for a relative path beside the program; a user means the folder they are in.
    let file = if file.is_file() { std::fs::canonicalize(&file).unwrap_or(file) } else { file };
    let builder = ort::init_from(&file).map_err(|e| format!("{e}; {advice}"))?;
    let environment = builder.with_name("ofa").with_telemetry(false).build().map_err(|e| e.to_string())?;
    environment.set_log_level(ort::logging::LogLevel::Error);
    Ok(Library { environment, version: version(&file) })
}

/// The version in the library's file name, or in its build information.
fn version(file: &std::path::Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let from_name = name.split(".so.").nth(1).filter(|v| v.contains('.')).map(str::to_owned);
    let from_build = || {
        let info = ort::info();
        let after = |key: &str| info.split(key).nth(1).map(|rest| rest.split([',', ' ']).next().unwrap_or(rest));
        let branch = after("git-branch=").and_then(|branch| branch.strip_prefix("rel-"));
        branch.or_else(|| after("git-commit-id=")).map(str::to_owned)
    };
    from_name.or_else(from_build).unwrap_or_else(|| "of unknown version".to_owned())
}

impl OnnxRuntime {
    pub(super) fn load(onnx: &[u8], options: &SessionOptions, runtime: Runtime) -> Result<Self, RuntimeError> {
        let label = runtime.name();
        let failed = |problem: String| RuntimeError::Load { runtime: label, problem };
        let library = library().map_err(failed)?;
        let builder = OrtSession::builder(&library.environment)
            .map_err(|e| failed(e.to_string()))?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|e| failed(e.to_string()))?
            // Idle threads that spin would disturb whatever is timed next.
            .with_intra_op_spinning(false)
            .map_err(|e| failed(e.to_string()))?;
        let builder = match options.threads {
            Some(threads) => builder.with_intra_threads(threads).map_err(|e| failed(e.to_string()))?,
            None => builder,
        };
        #[cfg(feature = "cuda")]
        let builder = match runtime {
            Runtime::OnnxRuntimeCuda => builder
                .with_execution_providers([ort::ep::CUDA::default().build().error_on_failure()])
                .map_err(|e| failed(format!("{e}; is this the GPU build of ONNX Runtime, and is there a GPU?")))?,
            _ => builder,
        };
        let mut builder = builder;
        let session = builder.commit_from_memory(onnx).map_err(|e| failed(e.to_string()))?;
        let (inputs, outputs) = (session.inputs().len(), session.outputs().len());
        if (inputs, outputs) != (1, 1) {
            return Err(failed(format!("{inputs} inputs and {outputs} outputs, expected one of each")));
        }
        Ok(Self { session, name: format!("{label} {}", library.version), label })
    }
}

impl Session for OnnxRuntime {
    fn run_timed(&mut self, input: Values<'_>, shape: [usize; 4]) -> Result<Run, RuntimeError> {
        input.fill(shape)?;
        let label = self.label;
        let failed = |e: ort::Error| RuntimeError::Run { runtime: label, problem: e.to_string() };
        let input = match input {
            Values::F32(values) => ort::inputs![TensorRef::from_array_view((shape, values)).map_err(failed)?],
            Values::U8(values) => ort::inputs![TensorRef::from_array_view((shape, values)).map_err(failed)?],
        };
        let start = Instant::now();
        let outputs = self.session.run(input).map_err(failed)?;
        let seconds = start.elapsed().as_secs_f64();
        let (_, output) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        Ok(Run { output: output.to_vec(), seconds })
    }

    fn runtime_name(&self) -> &str {
        &self.name
    }
}
