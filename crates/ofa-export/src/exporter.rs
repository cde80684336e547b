//! The whole way from a network to a verified file of a chosen precision.

use crate::batch::Batch;
use crate::error::ExportError;
use crate::onnx::{Body, ExportOptions, Preprocessing, file, metadata_props, model_metadata};
use crate::precision::mixed::{self, Cut};
#[cfg(feature = "rten")]
use crate::precision::quantisation::Quantisation;
use crate::precision::sensitivity::Layer;
use crate::precision::{Precision, half};
use crate::runtime::{Runtime, SessionOptions};
use crate::verification::{Reference, Verification, agreement};
use ofa_space::{Model, ModelError, NetSpec, Settings, Weights, atomic_file};
use onnx_protobuf::ModelProto;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Images compared where the batch size is not fixed.
const VERIFICATION_IMAGES: usize = 16;
/// Images that f16 is judged on.
const F16_IMAGES: usize = 32;
/// The producer of a file, as protobuf writes it: field 2, three bytes.
const PRODUCER: &[u8] = b"\x12\x03ofa";
/// Bytes in which it comes.
const BEGINNING: u64 = 16;

/// Writes a network as ONNX in f32, f16 or int8, and verifies it in a runtime.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | [`options`](Self::options) | opset 17, dynamic batch, f32 input | how the file is written | see [`ExportOptions`] |
/// | [`precision`](Self::precision) | f32 | type of the numbers | see [`Precision`] |
/// | [`calibration`](Self::calibration) | none; f16 is judged on random images | images for int8's numbers and f16's tolerance | normalised, of the network's size |
/// | [`verified`](Self::verified), [`verified_against`](Self::verified_against) | not verified | the reference for the file's logits | |
/// | [`runtime`](Self::runtime) | rten, its own number of threads | where the file is run | built-in ones |
/// | [`metadata`](Self::metadata) | a model's own, and `precision` | entries of the file | |
/// | [`seed`](Self::seed) | 0 | random images | |
#[derive(Clone, Debug)]
pub struct Exporter<'a> {
    net: NetSpec,
    weights: &'a Weights,
    entries: BTreeMap<String, String>,
    own_entries: BTreeMap<String, String>,
    options: ExportOptions,
    precision: Precision,
    calibration: Option<&'a Batch>,
    check: Check<'a>,
    runtime: Runtime,
    session: SessionOptions,
    seed: u64,
}

/// What to compare the file's logits with.
#[derive(Clone, Copy, Debug)]
enum Check<'a> {
    Nothing,
    F32File,
    Given { images: &'a Batch, logits: &'a [f32] },
}

/// A file in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Exported {
    /// Its bytes.
    pub onnx: Vec<u8>,
    /// What is in it and how it was verified.
    pub report: ExportReport,
}

/// What was exported. Serialises to the JSON of `ofa export`: what does not apply is null.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ExportReport {
    /// The file, if it was written to one.
    pub output: Option<PathBuf>,
    /// Its operator set.
    pub opset: i64,
    /// Its size.
    pub bytes: usize,
    /// Type of its numbers.
    pub precision: Precision,
    /// What is in f32 beside f16.
    #[serde(flatten)]
    pub in_f32: Option<Cut>,
    /// Layers that stay in f32 in an int8 file, the most sensitive first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_in_f32: Vec<Layer>,
    /// How it was verified, if it was.
    #[serde(flatten, serialize_with = "or_nulls")]
    pub verification: Option<Verification>,
}

impl<'a> Exporter<'a> {
    /// An exporter of a network that takes its tensors from `weights`, which may be a whole supernet's.
    pub fn new(net: NetSpec, weights: &'a Weights) -> Self {
        Self {
            net,
            weights,
            entries: BTreeMap::new(),
            own_entries: BTreeMap::new(),
            options: ExportOptions::default(),
            precision: Precision::default(),
            calibration: None,
            check: Check::Nothing,
            runtime: Runtime::default(),
            session: SessionOptions::default(),
            seed: 0,
        }
    }

    /// An exporter of a standalone model, with class names, normalisation, input size, arch and provenance as metadata.
    ///
    /// # Errors
    /// [`ModelError::ArchNeeded`] for a supernet: [extract](Model::extract) a subnet first.
    pub fn of(model: &'a Model) -> Result<Self, ModelError> {
        let net = model.net(None)?;
        Ok(Self { entries: model_metadata(model, &net), ..Self::new(net, &model.weights) })
    }

    /// How the file is written.
    #[must_use]
    pub fn options(self, options: ExportOptions) -> Self {
        Self { options, ..self }
    }

    /// The type of the file's numbers.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Normalised images like those that the network will see, for the numbers of int8 (several hundred are enough), to
    /// judge f16, and to verify on.
    #[must_use]
    pub fn calibration(self, images: &'a Batch) -> Self {
        Self { calibration: Some(images), ..self }
    }

    /// Compares the logits of the file with those of the same network's f32 file in the same runtime, on
    /// [`Self::verification_images`].
    ///
    /// An f32 file is compared with itself, apart from preprocessing and a fixed batch: that only shows that it loads and
    /// runs.
    #[must_use]
    pub fn verified(self) -> Self {
        Self { check: Check::F32File, ..self }
    }

    /// Compares the logits of the file with `logits` (one row an image) of these images, which have the layout of the
    /// file's input.
    #[must_use]
    pub fn verified_against(self, images: &'a Batch, logits: &'a [f32]) -> Self {
        Self { check: Check::Given { images, logits }, ..self }
    }

    /// Where the file is run to verify it.
    #[must_use]
    pub fn runtime(self, runtime: Runtime, session: SessionOptions) -> Self {
        Self { runtime, session, ..self }
    }

    /// Further metadata, which replace entries of the same name.
    #[must_use]
    pub fn metadata(mut self, entries: BTreeMap<String, String>) -> Self {
        self.own_entries.extend(entries);
        self
    }

    /// Seed of random images.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Images in the layout of the file's input: calibration images first, then random ones; random bytes if the graph
    /// normalises. As many as a fixed batch has, or 16.
    pub fn verification_images(&self) -> Batch {
        let [c, h, w] = self.net.input;
        let n = self.options.batch.unwrap_or(VERIFICATION_IMAGES);
        if matches!(self.options.preprocessing, Preprocessing::InGraph(_)) {
            return Batch::random_bytes([n, h, w, c], self.seed);
        }
        let mut images = Batch::random([n, c, h, w], self.seed);
        // Calibration images of another size are refused on export.
        if let Some(given) = self.calibration.filter(|given| given.image() == self.net.input) {
            images.begin_with(given);
        }
        images
    }

    /// The file in memory.
    ///
    /// # Errors
    /// [`ExportError::Setting`] for an impossible setting, [`ExportError::NoCalibrationImages`],
    /// [`ExportError::F16Tolerance`] if f16 moves the logits too far whatever stays in f32,
    /// [`ExportError::Disagreement`] if the file fails verification, and others for tensors or images that do not fit
    /// and runtimes that fail.
    pub fn export(&self) -> Result<Exported, ExportError> {
        self.precision.check()?;
        if let Some(images) = self.calibration {
            self.check_images("calibration", images, Layout::Normalised)?;
        }
        let body = Body::new(&self.net, self.weights, &self.options)?;
        let plain = || file::write(&body.file(&self.plain_options()));
        let mut model = body.file(&self.options);
        let (mut in_f32, mut layers_in_f32) = (None, Vec::new());
        match self.precision {
            Precision::F32 => {}
            Precision::F16 { tolerance } => {
                let cut = self.cut(&plain()?, tolerance)?;
                half::convert_model(&mut model, cut.operations_in_f32)?;
                in_f32 = Some(cut);
            }
            Precision::Int8 => layers_in_f32 = self.quantise(&body, &mut model)?,
        }
        model.metadata_props = metadata_props(&self.all_entries(in_f32, &layers_in_f32));
        let onnx = file::write(&model)?;
        let verification = self.verify(&onnx, plain)?;
        let (opset, bytes, precision) = (self.options.opset, onnx.len(), self.precision);
        Ok(Exported {
            onnx,
            report: ExportReport { output: None, opset, bytes, precision, in_f32, layers_in_f32, verification },
        })
    }

    /// Writes the file, whole or not at all; a file that fails verification is not written.
    ///
    /// # Errors
    /// Those of [`Self::export`], and [`ExportError::Write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<ExportReport, ExportError> {
        let Exported { onnx, report } = self.export()?;
        let path = path.as_ref().to_owned();
        match atomic_file::write(&path, &onnx) {
            Ok(()) => Ok(ExportReport { output: Some(path), ..report }),
            Err(source) => Err(ExportError::Write { path, source }),
        }
    }

    /// Whether a file begins as those of this exporter do.
    pub fn wrote(path: impl AsRef<Path>) -> bool {
        let mut beginning = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
        read.is_ok() && beginning.windows(PRODUCER.len()).any(|bytes| bytes == PRODUCER)
    }

    fn all_entries(&self, in_f32: Option<Cut>, layers: &[Layer]) -> BTreeMap<String, String> {
        let mut entries = self.entries.clone();
        entries.insert("precision".to_owned(), self.precision.name().to_owned());
        entries.extend(in_f32.map(|cut| ("operations_in_f32".to_owned(), cut.operations_in_f32.to_string())));
        if !layers.is_empty() {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
            entries.insert("layers_in_f32".to_owned(), names.join(","));
        }
        entries.extend(self.own_entries.clone());
        entries
    }

    /// What must stay in f32 for f16 to move the logits no further than allowed.
    fn cut(&self, plain: &[u8], tolerance: f64) -> Result<Cut, ExportError> {
        if tolerance == f64::INFINITY {
            let first = mixed::cuts(plain)?.into_iter().next();
            return first.ok_or(ExportError::NoOperations);
        }
        let [c, h, w] = self.net.input;
        let random = Batch::random([VERIFICATION_IMAGES, c, h, w], self.seed);
        let images = self.calibration.filter(|images| !images.is_empty()).unwrap_or(&random);
        match images.chunks(F16_IMAGES).next() {
            Some((values, shape)) => Ok(mixed::first_cut_within(plain, values, shape, tolerance)?.0),
            None => Err(ExportError::NoOperations),
        }
    }

    /// Turns a file into int8; returns the layers that stay in f32.
    #[cfg(feature = "rten")]
    fn quantise(&self, body: &Body<'_>, model: &mut ModelProto) -> Result<Vec<Layer>, ExportError> {
        let images = self.calibration.filter(|images| !images.is_empty()).ok_or(ExportError::NoCalibrationImages)?;
        let quantisation = Quantisation::of(body.file(&self.plain_options()), images)?;
        quantisation.apply(model)?;
        Ok(quantisation.in_f32)
    }

    #[cfg(not(feature = "rten"))]
    fn quantise(&self, _body: &Body<'_>, _model: &mut ModelProto) -> Result<Vec<Layer>, ExportError> {
        Err(crate::error::RuntimeError::NotCompiledIn { runtime: Runtime::Rten.name() }.into())
    }

    /// The options of the f32 file without preprocessing.
    fn plain_options(&self) -> ExportOptions {
        ExportOptions { batch: None, preprocessing: Preprocessing::Outside, ..self.options.clone() }
    }

    fn verify(
        &self,
        onnx: &[u8],
        plain: impl Fn() -> Result<Vec<u8>, ExportError>,
    ) -> Result<Option<Verification>, ExportError> {
        let own;
        let (reference, images) = match self.check {
            Check::Nothing => return Ok(None),
            Check::F32File => {
                own = self.verification_images();
                (Reference::F32File, &own)
            }
            Check::Given { images, .. } => (Reference::Given, images),
        };
        let layout = match &self.options.preprocessing {
            Preprocessing::Outside => Layout::Normalised,
            Preprocessing::InGraph(_) => Layout::Bytes,
        };
        self.check_images("verification", images, layout)?;
        let mut session = self.runtime.load(onnx, &self.session)?;
        let found = session.logits(images)?;
        let expected = match (self.check, &self.options.preprocessing) {
            (Check::Given { logits, .. }, _) => logits.to_vec(),
            (_, Preprocessing::Outside) => self.runtime.load(&plain()?, &self.session)?.logits(images)?,
            (_, Preprocessing::InGraph(format)) => {
                self.runtime.load(&plain()?, &self.session)?.logits(&images.normalised(format))?
            }
        };
        if found.len() != expected.len() {
            return Err(ExportError::LogitCount { found: found.len(), expected: expected.len() });
        }
        let agreement = agreement(&expected, &found);
        let runtime = session.runtime_name().to_owned();
        let allowed = self.precision.largest_difference();
        match agreement.within(allowed) {
            true => Ok(Some(Verification { runtime, reference, agreement })),
            false => Err(ExportError::Disagreement { runtime, agreement, allowed }),
        }
    }

    /// Refuses images that the network does not take.
    fn check_images(&self, role: &'static str, images: &Batch, layout: Layout) -> Result<(), ExportError> {
        if images.is_bytes() != (layout == Layout::Bytes) {
            let expected = match layout {
                Layout::Normalised => "normalised f32 (N,C,H,W)",
                Layout::Bytes => "bytes (N,H,W,C)",
            };
            return Err(ExportError::ImageType { role, expected });
        }
        match (images.image(), self.net.input) {
            (found, expected) if found != expected => Err(ExportError::ImageShape { role, found, expected }),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Normalised,
    Bytes,
}

/// The fields of a verification, null where there was none.
fn or_nulls<S: Serializer>(verification: &Option<Verification>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Fields<'a> {
        runtime: Option<&'a str>,
        reference: Option<Reference>,
        max_abs_diff: Option<f64>,
        max_abs_logit: Option<f64>,
    }
    let of = verification.as_ref();
    let fields = Fields {
        runtime: of.map(|v| v.runtime.as_str()),
        reference: of.map(|v| v.reference),
        max_abs_diff: of.map(|v| v.agreement.max_abs_diff),
        max_abs_logit: of.map(|v| v.agreement.max_abs_logit),
    };
    fields.serialize(serializer)
}
