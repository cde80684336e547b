//! What a search minimises or limits: latency, memory and energy of a space's subnets on a device.

pub mod energy;
pub mod latency;
pub mod memory;

/// Makes a type the objective that its field is.
macro_rules! objective_of_field {
    ($type:ty, $field:tt) => {
        impl ofa_space::Objective for $type {
            fn name(&self) -> &str {
                self.$field.name()
            }

            fn evaluate(&self, archs: &[ofa_space::Arch]) -> Result<Vec<f64>, ofa_space::ObjectiveError> {
                self.$field.evaluate(archs)
            }

            fn evaluate_rows(
                &self,
                rows: &ofa_space::Population,
                values: &mut Vec<f64>,
            ) -> Result<(), ofa_space::ObjectiveError> {
                self.$field.evaluate_rows(rows, values)
            }

            fn block_sum(&self, resolution: Option<u32>) -> Option<std::sync::Arc<ofa_space::BlockSum>> {
                self.$field.block_sum(resolution)
            }

            fn over_blocks(&self, resolution: Option<u32>) -> Option<ofa_space::OverBlocks> {
                self.$field.over_blocks(resolution)
            }
        }
    };
}
pub(crate) use objective_of_field;
