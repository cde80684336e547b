//! Backward nodes with as many inputs as a block has parameters.

/// Calls a function with the number of a node's inputs as its constant parameter, which is a type in Burn; `None` beyond 24.
macro_rules! by_count {
    ($count:expr, $function:ident $arguments:tt) => {
        $crate::elastic::node_count::by_count!(
            @each $count, $function, $arguments, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24
        )
    };
    (@each $count:expr, $function:ident, $arguments:tt, $($number:literal)*) => {
        match $count {
            $($number => $function::<$number> $arguments,)*
            _ => None,
        }
    };
}

pub(crate) use by_count;
