//! Headers that every answer over HTTP has, whichever function gives it.

/// Security headers for browsers: an answer loads nothing, is shown in no frame, keeps its type, comes over TLS only, and
/// sends no referrer to other sites.
pub const SECURITY: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("strict-transport-security", "max-age=63072000"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];
