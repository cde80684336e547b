//! ofa-search
