//! The exponential moving average of a supernet's weights and running statistics.

use crate::elastic::Supernet;
use crate::error::TrainError;
use ofa_space::Weights;

/// Moves the average towards the weights of the moment: `decay · average + (1 − decay) · weights`.
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver the weights.
pub(crate) fn update(average: &mut Weights, supernet: &Supernet, decay: f64) -> Result<(), TrainError> {
    let weights = supernet.weights()?;
    let decay = decay as f32;
    for (name, tensor) in weights.iter() {
        match average.get_mut(name) {
            Some(old) => {
                for (value, new) in old.data.iter_mut().zip(&tensor.data) {
                    *value += (1.0 - decay) * (new - *value);
                }
            }
            None => average.insert(name.clone(), tensor.clone()),
        }
    }
    Ok(())
}
