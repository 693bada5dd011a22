//! What the tables of cases are turned into.
//!
//! A table is a macro that hands its rows to another one: `suite!` makes the list, `__case_tests!` the tests. A row
//! without its function doesn't compile, and a function without its row is dead code, which is refused.

/// Turns a table into `CASES`.
macro_rules! suite {
    ([] $($rows:tt)+) => {
        crate::conformance::table::suite! {
            [crate::conformance::StoreUnderTest; crate::conformance::fixture::Fixture] $($rows)+
        }
    };
    ([$tested:ty; $fixture:ty] $( $module:ident { $( $name:ident [$($method:ident),+] $claim:literal; )+ } )+) => {
        /// The cases of this suite.
        pub(crate) const CASES: &[crate::conformance::Case<$tested>] = &[ $( $( crate::conformance::Case {
            name: stringify!($name),
            methods: &[$(stringify!($method)),+],
            claim: $claim,
            body: |tested| Box::pin(async move {
                let fixture = <$fixture>::new(tested).await;
                $module::$name(&fixture).await;
            }),
        }, )+ )+ ];
    };
}

pub(crate) use suite;

/// Turns a table into one test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __case_tests {
    (
        [$owner:ident::$suite:ident $factory:expr]
        $( $module:ident { $( $name:ident [$($method:ident),+] $claim:literal; )+ } )+
    ) => {
        $( mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[doc = $claim]
                #[test]
                fn $name() {
                    $crate::conformance::check($crate::conformance::$owner::$suite, stringify!($name), $factory);
                }
            )+
        } )+
    };
}
