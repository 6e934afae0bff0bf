//! Headers of every HTTP response of the functions.

/// Security headers for browsers. A response loads no resources, cannot be shown in a frame, keeps its media type, is
/// only requested over TLS, and sends no referrer to other sites.
pub const SECURITY: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("strict-transport-security", "max-age=63072000"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];
