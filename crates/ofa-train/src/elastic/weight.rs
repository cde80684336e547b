//! Weights of prepared operations.

use burn::tensor::Tensor;

/// A weight of an operation that is ready to run.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Bias, scale or shift; a running statistic of batch norm in evaluation.
    Vector(Tensor<1>),
    /// Weight of a linear layer.
    Matrix(Tensor<2>),
    /// Weight of a convolution.
    Kernel(Tensor<4>),
    /// Name of a running statistic that is not read, because batch norm uses the statistics of the batch.
    Statistic(String),
}

impl Weight {
    /// A vector.
    ///
    /// # Panics
    /// If it is something else.
    pub fn vector(&self) -> Tensor<1> {
        match self {
            Weight::Vector(tensor) => tensor.clone(),
            other => panic!("expected a vector, found {}", other.description()),
        }
    }

    /// A matrix.
    ///
    /// # Panics
    /// If it is something else.
    pub fn matrix(&self) -> Tensor<2> {
        match self {
            Weight::Matrix(tensor) => tensor.clone(),
            other => panic!("expected a matrix, found {}", other.description()),
        }
    }

    /// The weight of a convolution.
    ///
    /// # Panics
    /// If it is something else.
    pub fn kernel(&self) -> Tensor<4> {
        match self {
            Weight::Kernel(tensor) => tensor.clone(),
            other => panic!("expected the weight of a convolution, found {}", other.description()),
        }
    }

    /// The shape; empty for a [`Statistic`](Self::Statistic).
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Weight::Vector(tensor) => tensor.dims().to_vec(),
            Weight::Matrix(tensor) => tensor.dims().to_vec(),
            Weight::Kernel(tensor) => tensor.dims().to_vec(),
            Weight::Statistic(_) => Vec::new(),
        }
    }

    fn description(&self) -> String {
        match self {
            Weight::Statistic(name) => format!("the name of `{name}`"),
            _ => format!("a tensor of shape {:?}", self.shape()),
        }
    }
}
