//! The supernet's trainable tensors as a Burn module.

use super::precision::Precision;
use crate::error::TrainError;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use ofa_space::supernet::TensorDef;
use ofa_space::{TensorRole, Weights};
use std::collections::BTreeMap;

/// Trainable tensors by rank. Weight decay acts on everything but `vectors` (batch-norm scales and shifts, biases):
/// the reference's rule "no decay where the name has `bn` or `bias`" is the same split.
#[derive(Module, Debug)]
pub struct ParameterModule {
    /// Batch-norm scales and shifts, biases.
    pub vectors: Vec<Param<Tensor<1>>>,
    /// Linear weights and kernel-transform matrices.
    pub matrices: Vec<Param<Tensor<2>>>,
    /// Convolution weights.
    pub kernels: Vec<Param<Tensor<4>>>,
}

/// Where a named tensor lives in the module.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Vector(usize),
    Matrix(usize),
    Kernel(usize),
}

/// Whether reading a parameter records gradients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gradients {
    /// Record, for training.
    Record,
    /// Do not, for evaluation.
    Skip,
}

/// The supernet's trainable tensors, by name.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The module that the optimizer steps.
    pub module: ParameterModule,
    /// What products multiply that read them.
    pub precision: Precision,
    slots: BTreeMap<String, Slot>,
    defs: BTreeMap<String, TensorDef>,
}

impl Parameters {
    /// Puts the trainable tensors of `defs` on `device` (an autodiff device for training).
    ///
    /// # Errors
    /// [`TrainError::Weights`] if a tensor is missing or of another shape.
    pub fn from_weights(
        defs: &BTreeMap<String, TensorDef>,
        weights: &Weights,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut module = ParameterModule { vectors: Vec::new(), matrices: Vec::new(), kernels: Vec::new() };
        let mut slots = BTreeMap::new();
        for (name, def) in defs.iter().filter(|(_, def)| def.role.is_parameter()) {
            let tensor = weights.expect(name, &def.shape)?;
            let data = TensorData::new(tensor.data.clone(), tensor.shape.clone());
            // Fixed ids, so that the optimizer state of a checkpoint finds its parameters again.
            let id = ParamId::from(slots.len() as u64 + 1);
            let slot = match def.role {
                TensorRole::ConvWeight => {
                    module.kernels.push(Param::initialized(id, tracked(Tensor::from_data(data, device), device)));
                    Slot::Kernel(module.kernels.len() - 1)
                }
                TensorRole::LinearWeight | TensorRole::KernelTransform => {
                    module.matrices.push(Param::initialized(id, tracked(Tensor::from_data(data, device), device)));
                    Slot::Matrix(module.matrices.len() - 1)
                }
                _ => {
                    module.vectors.push(Param::initialized(id, tracked(Tensor::from_data(data, device), device)));
                    Slot::Vector(module.vectors.len() - 1)
                }
            };
            slots.insert(name.clone(), slot);
        }
        let defs = defs.iter().filter(|(_, def)| def.role.is_parameter());
        Ok(Self { module, precision: Precision::F32, slots, defs: defs.map(|(n, d)| (n.clone(), d.clone())).collect() })
    }

    /// Replaces the module by what `step` makes of it; it gets the only handles to the tensors, so that they can change
    /// in place.
    pub fn update(&mut self, step: impl FnOnce(ParameterModule) -> ParameterModule) {
        let none = ParameterModule { vectors: Vec::new(), matrices: Vec::new(), kernels: Vec::new() };
        self.module = step(std::mem::replace(&mut self.module, none));
    }

    /// Ids of the parameters of one role.
    pub fn ids(&self, role: TensorRole) -> Vec<ParamId> {
        let of_role = self.slots.iter().filter(|(name, _)| self.defs[*name].role == role);
        of_role
            .map(|(_, slot)| match *slot {
                Slot::Vector(i) => self.module.vectors[i].id,
                Slot::Matrix(i) => self.module.matrices[i].id,
                Slot::Kernel(i) => self.module.kernels[i].id,
            })
            .collect()
    }

    /// Copies every trainable tensor back into `weights`.
    ///
    /// # Errors
    /// [`TrainError::Compute`] if the backend cannot deliver the data.
    pub fn store(&self, weights: &mut Weights) -> Result<(), TrainError> {
        for (name, slot) in &self.slots {
            let data = match *slot {
                Slot::Vector(i) => self.module.vectors[i].val().into_data(),
                Slot::Matrix(i) => self.module.matrices[i].val().into_data(),
                Slot::Kernel(i) => self.module.kernels[i].val().into_data(),
            };
            let data = data.try_into_vec::<f32>().map_err(|e| TrainError::Compute(format!("{e:?}")))?;
            weights.insert(name.clone(), ofa_space::Tensor { shape: self.defs[name].shape.clone(), data });
        }
        Ok(())
    }

    /// The device that tensors read this way live on.
    ///
    /// # Panics
    /// If there are no parameters.
    pub fn device(&self, gradients: Gradients) -> Device {
        let ParameterModule { vectors, matrices, kernels } = &self.module;
        match (vectors.first(), matrices.first(), kernels.first()) {
            (Some(param), _, _) => read(param, gradients).device(),
            (_, Some(param), _) => read(param, gradients).device(),
            (_, _, Some(param)) => read(param, gradients).device(),
            (None, None, None) => panic!("a supernet without parameters"),
        }
    }

    /// A vector by name.
    ///
    /// # Panics
    /// If the supernet has no such vector: the [`crate::elastic::plan::Plan`] was made for another space.
    pub fn vector(&self, name: &str, gradients: Gradients) -> Tensor<1> {
        match self.slots.get(name) {
            Some(Slot::Vector(i)) => read(&self.module.vectors[*i], gradients),
            other => panic!("`{name}` is not a vector of this supernet ({other:?})"),
        }
    }

    /// A matrix by name.
    ///
    /// # Panics
    /// As [`Self::vector`].
    pub fn matrix(&self, name: &str, gradients: Gradients) -> Tensor<2> {
        match self.slots.get(name) {
            Some(Slot::Matrix(i)) => read(&self.module.matrices[*i], gradients),
            other => panic!("`{name}` is not a matrix of this supernet ({other:?})"),
        }
    }

    /// A convolution weight by name.
    ///
    /// # Panics
    /// As [`Self::vector`].
    pub fn kernel(&self, name: &str, gradients: Gradients) -> Tensor<4> {
        match self.slots.get(name) {
            Some(Slot::Kernel(i)) => read(&self.module.kernels[*i], gradients),
            other => panic!("`{name}` is not a convolution weight of this supernet ({other:?})"),
        }
    }
}

/// On an autodiff device a parameter is a leaf whose gradient is wanted.
fn tracked<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn read<const D: usize>(param: &Param<Tensor<D>>, gradients: Gradients) -> Tensor<D> {
    match gradients {
        Gradients::Record => param.val(),
        Gradients::Skip => param.val().without_autodiff(),
    }
}
