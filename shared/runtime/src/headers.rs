//! Headers that every answer over HTTP has, whichever function gives it.

/// What a browser is told about an answer: it loads nothing, is shown in no frame, is never taken for another type, comes over TLS only,
/// and tells other sites nothing of where it was read.
pub const SECURITY: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("strict-transport-security", "max-age=63072000"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];
