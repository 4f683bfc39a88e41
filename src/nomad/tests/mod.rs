//! Against servers of the tests own.
