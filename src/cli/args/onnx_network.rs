//! An exported ONNX file as a network: its metadata describe its input and its classes.

use super::runtime_choice::RuntimeArgs;
use super::{Context, Failure};
use ofa_export::{ExportError, OnnxFile, Session, SessionOptions, Values};
use ofa_space::plain_text::plain;
use ofa_space::{InputFormat, input_file};
use ofa_train::Images;
use ofa_train::evaluation::check_finite;
use std::path::Path;

/// A file, loaded into a runtime.
pub struct OnnxNetwork {
    /// What the file holds about itself.
    pub about: OnnxFile,
    /// Normalisation and resizing of its input.
    pub input: InputFormat,
    /// Names of its classes.
    pub class_names: Vec<String>,
    session: Box<dyn Session>,
}

impl OnnxNetwork {
    /// Whether a model argument names an ONNX file.
    pub fn is_named(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
    }

    /// Reads a file and starts the runtime.
    pub fn open(path: &Path, runtime: &RuntimeArgs, context: &Context) -> Result<Self, Failure> {
        let named = |error: ExportError| Failure::Input(format!("{}: {error}", path.display()));
        let onnx = input_file::read(path, input_file::LARGEST_MODEL)
            .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
        let about = OnnxFile::read(&onnx).map_err(named)?;
        let (input, class_names) = (about.input_format().map_err(named)?, about.class_names().map_err(named)?);
        input.check(about.image[0]).map_err(|invalid| Failure::Input(format!("{}: {invalid}", path.display())))?;
        let class_names = class_names.iter().map(|name| plain(name).into_owned()).collect();
        let session = runtime.runtime()?.load(&onnx, &SessionOptions { threads: context.common.threads })?;
        Ok(Self { about, input, class_names, session })
    }

    /// Name and version of the runtime.
    pub fn runtime_name(&self) -> &str {
        self.session.runtime_name()
    }

    /// Logits of images, row by row. A file with a fixed batch takes no more than that many.
    pub fn logits(&mut self, mut images: Images) -> Result<Vec<f32>, Failure> {
        let [n, h, w, c] = images.shape;
        // A fixed batch is filled up with zeros.
        let filled = self.about.batch.unwrap_or(n);
        images.data.resize(filled * h * w * c, 0.0);
        images.shape[0] = filled;
        let mut logits = match self.about.takes_bytes {
            true => self.session.run_timed(Values::U8(&bytes(&images, &self.input)), images.shape)?.output,
            false => self.session.run(&images.to_nchw(), [filled, c, h, w])?,
        };
        check_finite(&logits)?;
        logits.truncate(logits.len() / filled.max(1) * n);
        Ok(logits)
    }
}

/// The bytes that normalised images came from.
fn bytes(images: &Images, format: &InputFormat) -> Vec<u8> {
    let channels = format.mean.len().max(1);
    let byte = |(index, value): (usize, &f32)| {
        let share = value * format.std[index % channels] + format.mean[index % channels];
        (share * 255.0).round().clamp(0.0, 255.0) as u8
    };
    images.data.iter().enumerate().map(byte).collect()
}
