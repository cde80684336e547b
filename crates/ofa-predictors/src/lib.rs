//! ofa-predictors
