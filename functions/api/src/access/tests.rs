use rstest::rstest;

use super::*;

#[rstest]
#[case::list(Method::GET, "/webhooks", "webhooks:read")]
#[case::patch(Method::PATCH, "/webhooks/{id}", "webhooks:write")]
#[case::pause(Method::POST, "/webhooks/{id}/pause", "webhooks:write")]
#[case::deliveries(Method::GET, "/webhooks/{id}/deliveries/{delivery}", "deliveries:read")]
#[case::all_deliveries(Method::GET, "/deliveries", "deliveries:read")]
#[case::calls(Method::GET, "/webhooks/{id}/calls", "deliveries:read")]
#[case::redeliver(Method::POST, "/webhooks/{id}/deliveries/{delivery}/redeliver", "webhooks:write")]
#[case::dead_letters(Method::GET, "/dead-letters", "deliveries:read")]
#[case::redrive(Method::POST, "/dead-letters/redrive", "webhooks:write")]
#[case::jobs(Method::GET, "/jobs/{id}", "deliveries:read")]
#[case::cancel(Method::POST, "/jobs/{id}/cancel", "webhooks:write")]
#[case::preview(Method::POST, "/webhooks/{id}/preview", "webhooks:write")]
#[case::explain(Method::POST, "/webhooks/{id}/explain", "webhooks:read events:read")]
#[case::dry_run(Method::POST, "/webhooks/{id}/dry-run", "webhooks:read events:read")]
#[case::publish(Method::POST, "/events", "events:write")]
#[case::publish_about(Method::POST, "/webhooks/{id}/{entity}", "events:write")]
#[case::usage(Method::GET, "/usage", "webhooks:read")]
#[case::events(Method::GET, "/events/{event_id}", "events:read")]
#[case::catalog(Method::GET, "/event-types", "events:read")]
#[case::entities(Method::GET, "/entities", "events:read")]
#[case::describe(Method::PUT, "/event-types/{type}", "events:write")]
fn a_route_needs_scopes(#[case] method: Method, #[case] route: &str, #[case] needed: &str) {
    let scopes: Vec<_> = scopes(&method, route).iter().map(ToString::to_string).collect();
    assert_eq!(scopes.join(" "), needed);
}

fn identity(roles: &[&str]) -> Identity {
    Identity {
        subject: "anna".to_owned(),
        tenant: Some("acme".to_owned()),
        app: None,
        roles: roles.iter().map(ToString::to_string).collect(),
        scopes: Vec::new(),
        api_key: None,
        expires_at: 1,
    }
}

#[rstest]
#[case::everyone(For::Everyone, &[], None)]
#[case::admin(For::Admins, &["USER", "ADMIN"], None)]
#[case::no_role(For::Admins, &["USER"], Some("this needs the role ADMIN"))]
#[case::role_within_a_text(For::Admins, &["not ADMIN", "ADMIN USER"], Some("this needs the role ADMIN"))]
#[case::operator_within_a_text(For::Operators, &["No OPERATOR rights"], Some("this needs the role OPERATOR"))]
#[case::operator(For::Operators, &["OPERATOR"], None)]
#[case::admin_is_no_operator(For::Operators, &["ADMIN"], Some("this needs the role OPERATOR"))]
#[case::operator_is_no_admin(For::TenantAdmins, &["OPERATOR"], Some("this needs the role ADMIN"))]
fn a_role_is_one_of_the_list(#[case] whose: For, #[case] roles: &[&str], #[case] refusal: Option<&str>) {
    let refused = authorize(&identity(roles), whose, &Method::POST, &[]).err().map(|problem| problem.to_string());
    assert_eq!(refused.as_deref(), refusal);
}

/// Every operation of the contract, so that the rules hold for later routes as well.
#[test]
fn each_role_may_make_its_requests_only() {
    let refusal = |identity: &Identity, method: &Method, route: &str| {
        let refused = authorize(identity, whose(method, route), method, scopes(method, route)).err();
        refused.map(|problem| problem.to_string())
    };
    let crm = |roles| Identity { app: Some("crm".to_owned()), ..identity(roles) };
    let contract = serde_json::to_value(crate::openapi()).unwrap();
    let paths = contract["paths"].as_object().unwrap().iter();
    // Paths with a server of their own need no token.
    for (path, item) in paths.filter(|(_, item)| item.get("servers").is_none()) {
        for method in item.as_object().unwrap().keys() {
            let request = format!("{method} {path}");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let refusal = |identity: &Identity| refusal(identity, &method, path);
            let whose = whose(&method, path);
            let of_operators = whose == For::Operators;
            let not_of_operators = !of_operators && whose != For::PeopleAndOperators;
            let needed = match whose {
                For::Everyone => None,
                For::Operators => Some("this needs the role OPERATOR"),
                For::PeopleAndOperators if method == Method::GET => {
                    Some("this needs the role ADMIN or VIEWER or OPERATOR")
                }
                For::PeopleAndOperators => Some("this needs the role ADMIN or OPERATOR"),
                For::Admins | For::TenantAdmins | For::People if method == Method::GET => {
                    Some("this needs the role ADMIN or VIEWER")
                }
                For::Admins | For::TenantAdmins | For::People => Some("this needs the role ADMIN"),
            };
            assert_eq!(refusal(&identity(&["USER"])).as_deref(), needed, "{request}");
            assert_eq!(refusal(&identity(&["ADMIN"])).as_deref(), needed.filter(|_| of_operators), "{request}");
            assert_eq!(refusal(&identity(&["OPERATOR"])).as_deref(), needed.filter(|_| not_of_operators), "{request}");
            let (viewer, their_viewer) = (refusal(&identity(&["VIEWER"])), refusal(&crm(&["VIEWER"])));
            if method == Method::GET {
                assert_eq!(viewer, refusal(&identity(&["ADMIN"])), "{request}");
                assert_eq!(their_viewer, refusal(&crm(&["ADMIN"])), "{request}");
            } else {
                assert_eq!((viewer.as_deref(), their_viewer.as_deref()), (needed, needed), "{request}");
            }
        }
    }
}

#[rstest]
#[case::reads(&["OPERATOR"], Method::GET, For::Admins, "acme", Ok(()))]
#[case::reads_api_keys(&["ADMIN", "OPERATOR"], Method::GET, For::People, "acme", Ok(()))]
#[case::writes(&["ADMIN", "OPERATOR"], Method::POST, For::Admins, "acme",
    Err("with Dynahook-Tenant, an operator may read a tenant's resources and not change them"))]
#[case::is_no_operator(&["ADMIN"], Method::GET, For::Admins, "acme", Err("this needs the role OPERATOR"))]
#[case::of_no_tenant(&["OPERATOR"], Method::GET, For::Operators, "acme",
    Err("Dynahook-Tenant is only for resources of a tenant; leave it out"))]
fn an_operator_reads_what_a_viewer_of_the_tenant_reads(
    #[case] roles: &[&str],
    #[case] method: Method,
    #[case] whose: For,
    #[case] tenant: &'static str,
    #[case] expected: Result<(), &str>,
) {
    let caller = Identity { tenant: Some("our-own".to_owned()), app: Some("crm".to_owned()), ..identity(roles) };
    let acting = acting_for(caller.clone(), Some(&HeaderValue::from_static(tenant)), whose, &method);
    let acting = acting.map_err(|problem| problem.to_string());
    assert_eq!(acting.as_ref().map(|_| ()).map_err(String::as_str), expected);
    if let Ok(acting) = acting {
        let viewer = Identity { tenant: Some(tenant.to_owned()), ..identity(&["VIEWER"]) };
        assert_eq!(acting, viewer);
        authorize(&acting, whose, &method, &[]).unwrap();
        assert!(authorize(&acting, For::Admins, &Method::POST, &[]).is_err());
    }
    let unnamed = acting_for(caller.clone(), None, whose, &method).map_err(|problem| problem.to_string());
    let hint = "this needs the role ADMIN or VIEWER; to read it, an operator names a tenant with Dynahook-Tenant";
    let is_lost = roles == ["OPERATOR"] && whose != For::Operators;
    assert_eq!(unnamed, if is_lost { Err(hint.to_owned()) } else { Ok(caller) });
}

#[test]
fn a_name_that_no_tenant_has_is_refused() {
    let named = HeaderValue::from_static("acme, other");
    let refused = acting_for(identity(&["OPERATOR"]), Some(&named), For::Admins, &Method::GET);
    assert!(matches!(refused, Err(Problem::Invalid(faults)) if faults[0].pointer == TENANT));
}

#[test]
fn an_api_key_of_a_tenant_manages_no_api_keys() {
    let key = Identity { api_key: "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".parse().ok(), ..identity(&["ADMIN"]) };
    for (method, route, is_allowed) in [
        (Method::POST, "/webhooks", true),
        (Method::PUT, "/event-types/{type}", true),
        (Method::POST, "/signing-keys/rotate", true),
        (Method::GET, "/api-keys", false),
        (Method::POST, "/api-keys", false),
        (Method::DELETE, "/api-keys/{id}", false),
    ] {
        let whose = whose(&method, route);
        assert_eq!(authorize(&key, whose, &method, &[]).is_ok(), is_allowed, "{method} {route}");
        assert!(authorize(&identity(&["ADMIN"]), whose, &method, &[]).is_ok(), "{method} {route}");
    }
}

#[rstest]
#[case::admin(identity(&["ADMIN"]), None)]
#[case::operator(Identity { tenant: None, ..identity(&["OPERATOR"]) }, None)]
#[case::viewer(identity(&["VIEWER"]), Some("this needs the role ADMIN or OPERATOR"))]
#[case::api_key(
    of_key("key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    Some("portal links are managed with a token, not with an API key")
)]
#[case::link(
    of_key("lnk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
    Some("portal links are managed with a token, not with an API key")
)]
#[case::application(Identity { app: Some("crm".to_owned()), ..identity(&["ADMIN"]) },
    Some("this is for admins of the tenant, not for applications"))]
#[case::application_of_an_operator(Identity { app: Some("crm".to_owned()), ..identity(&["OPERATOR"]) },
    Some("this is for admins of the tenant, not for applications"))]
#[case::no_tenant(Identity { tenant: None, ..identity(&["ADMIN"]) }, Some("the token names no tenant"))]
fn admins_and_operators_make_portal_links(#[case] identity: Identity, #[case] refusal: Option<&str>) {
    let whose = whose(&Method::POST, "/portal-links");
    let refused = authorize(&identity, whose, &Method::POST, &[]).err().map(|problem| problem.to_string());
    assert_eq!(refused.as_deref(), refusal);
}

/// A caller with an API key, which belongs to a portal link if the subject is one.
fn of_key(subject: &str) -> Identity {
    let api_key = "key_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".parse().ok();
    Identity { subject: subject.to_owned(), api_key, ..identity(&["ADMIN"]) }
}

#[test]
fn an_application_is_no_admin_of_its_tenant() {
    let app = Identity { app: Some("crm".to_owned()), ..identity(&["ADMIN"]) };
    assert!(authorize(&app, For::Admins, &Method::POST, &[]).is_ok());
    assert!(matches!(authorize(&app, For::TenantAdmins, &Method::POST, &[]), Err(Problem::Forbidden(_))));
}

#[rstest]
#[case::not_narrowed(&[], None)]
#[case::has_all(&[Scope::EventsRead, Scope::WebhooksRead], None)]
#[case::lacks_one(&[Scope::WebhooksRead], Some("this needs the scope events:read"))]
#[case::has_another(&[Scope::EventsWrite], Some("this needs the scope webhooks:read"))]
fn scopes_narrow(#[case] has: &[Scope], #[case] refusal: Option<&str>) {
    let narrowed = Identity { scopes: has.to_vec(), ..identity(&["ADMIN"]) };
    let needed = [Scope::WebhooksRead, Scope::EventsRead];
    let refused = authorize(&narrowed, For::Admins, &Method::POST, &needed).err().map(|problem| problem.to_string());
    assert_eq!(refused.as_deref(), refusal);
}

#[rstest]
#[case::own_things(Method::POST, "/webhooks", For::Admins)]
#[case::catalog_is_read_by_applications(Method::GET, "/event-types/{type}", For::Admins)]
#[case::catalog_is_written_by_admins(Method::PUT, "/event-types/{type}", For::TenantAdmins)]
#[case::keys_of_applications(Method::GET, "/api-keys/{id}", For::People)]
#[case::portal_links(Method::POST, "/portal-links", For::PeopleAndOperators)]
#[case::portal_link(Method::DELETE, "/portal-links/{id}", For::PeopleAndOperators)]
#[case::own_portal_link(Method::GET, "/portal-links/current", For::Everyone)]
#[case::signing_keys(Method::POST, "/signing-keys/rotate", For::TenantAdmins)]
#[case::notices(Method::GET, "/notices/{id}", For::TenantAdmins)]
#[case::tables(Method::GET, "/sources", For::Operators)]
#[case::any_tenant(Method::PUT, "/tenants/{tenant}/budgets", For::Operators)]
#[case::addresses(Method::GET, "/egress-addresses", For::Everyone)]
fn a_request_is_for(#[case] method: Method, #[case] route: &str, #[case] expected: For) {
    assert_eq!(whose(&method, route), expected);
}

#[test]
fn a_tenants_callers_share_a_rate_and_others_have_their_own() {
    let app = Identity { app: Some("crm".to_owned()), subject: "bob".to_owned(), ..identity(&[]) };
    let of_tenant = counted_as(&identity(&[]), For::Admins);
    assert_eq!(of_tenant, counted_as(&app, For::Admins));
    assert_eq!(of_tenant.as_str(), "RATE#api#tenant#acme");
    let operator = counted_as(&identity(&[]), For::Operators);
    assert_ne!(of_tenant, operator);
    assert_eq!(counted_as(&identity(&["ADMIN"]), For::PeopleAndOperators), of_tenant);
    assert_eq!(counted_as(&identity(&["OPERATOR"]), For::PeopleAndOperators), operator);
    // A strange tenant name cannot collide with another tenant's key, and does not make the key too long.
    for tenant in [None, Some("acme#x".to_owned()), Some("a".repeat(3000))] {
        let strange = counted_as(&Identity { tenant, ..identity(&[]) }, For::Everyone);
        assert!(strange.as_str().starts_with("RATE#api#subject#") && strange.as_str().len() < 100);
        assert_ne!(strange, of_tenant);
    }
}
