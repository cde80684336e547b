//! Search spaces: the trait, the built-in families, and the registry of names and TOML tables.

pub mod derived;
pub mod elasticity;
pub mod mbv3;
pub mod mobile_stages;
pub mod proxyless;
pub mod registry;
pub mod resnet;
pub mod space;
