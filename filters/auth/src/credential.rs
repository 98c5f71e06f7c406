//! Where credentials are in a request, and how they are taken out of it.

use std::borrow::Cow;
use std::rc::Rc;

use policy::{Effects, Head};

/// One place where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A header, the token after this scheme if there is one. Names are lower-case.
    Header {
        name: Rc<str>,
        scheme: Option<Rc<str>>,
    },
    /// A query parameter.
    Query(Rc<str>),
    /// A cookie.
    Cookie(Rc<str>),
}

/// The request presents different credentials of one kind, or one header twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

/// The one token of the request among these sources.
pub(crate) fn find_token<'a>(
    request: &'a Head,
    sources: &'a [Source],
) -> Result<Option<Cow<'a, str>>, Conflict> {
    let mut found: Option<Cow<'a, str>> = None;
    for source in sources {
        for token in source.tokens(request)? {
            match &found {
                Some(first) if *first != token => return Err(Conflict),
                Some(_) => {}
                None => found = Some(token),
            }
        }
    }
    Ok(found)
}

/// The one value of a credential header. One that is not UTF-8 is as good as any other wrong one.
pub(crate) fn find_header<'a>(
    request: &'a Head,
    name: &'a str,
) -> Result<Option<Cow<'a, str>>, Conflict> {
    let mut values = request.all(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(Conflict);
    }
    Ok(first.map(text))
}

/// Takes the tokens of these sources out of the request that goes upstream.
pub(crate) fn strip<M>(request: &Head, sources: &[Source], effects: &mut Effects<M>) {
    let mut queries: Vec<&str> = Vec::new();
    let mut cookies: Vec<&str> = Vec::new();
    for source in sources {
        match source {
            Source::Header { name, scheme } => {
                if let Ok(Some(_)) = in_header(request, name, scheme.as_deref()) {
                    effects.remove_header(name);
                }
            }
            Source::Query(name) => queries.push(name),
            Source::Cookie(name) => cookies.push(name),
        }
    }
    if !queries.is_empty()
        && let Some(path) = request.path_and_query()
        && let Some(stripped) = without_parameters(path, &queries)
    {
        effects.set_header(":path", stripped);
    }
    if !cookies.is_empty() {
        strip_cookies(request, &cookies, effects);
    }
}

impl Source {
    fn tokens<'a>(
        &'a self,
        request: &'a Head,
    ) -> Result<impl Iterator<Item = Cow<'a, str>>, Conflict> {
        let (header, query, cookie) = match self {
            Self::Header { name, scheme } => {
                (in_header(request, name, scheme.as_deref())?, None, None)
            }
            Self::Query(own) => {
                let named = parameters(request).filter(move |(name, _)| **name == **own);
                (None, Some(named.map(|(_, value)| value)), None)
            }
            Self::Cookie(own) => {
                let named = cookies(request).filter(move |(name, _)| *name == own.as_bytes());
                (None, None, Some(named.map(|(_, value)| text(value))))
            }
        };
        let (query, cookie) = (query.into_iter().flatten(), cookie.into_iter().flatten());
        Ok(header.map(text).into_iter().chain(query).chain(cookie))
    }
}

/// The token in the one header of this name.
fn in_header<'a>(
    request: &'a Head,
    name: &'a str,
    scheme: Option<&str>,
) -> Result<Option<&'a [u8]>, Conflict> {
    let mut values = request.all(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(Conflict);
    }
    Ok(first.and_then(|value| after_scheme(value, scheme)))
}

/// What follows the scheme (RFC 9110 section 11.4: compared without regard to case, one or more
/// spaces). Another scheme is another kind of credential, not ours.
fn after_scheme<'a>(value: &'a [u8], scheme: Option<&str>) -> Option<&'a [u8]> {
    let value = value.trim_ascii();
    let token = match scheme {
        None => value,
        Some(scheme) => {
            let (given, rest) = value.split_at_checked(scheme.len())?;
            if !given.eq_ignore_ascii_case(scheme.as_bytes()) {
                return None;
            }
            match rest.first() {
                None => rest,
                Some(b' ' | b'\t') => rest.trim_ascii_start(),
                Some(_) => return None,
            }
        }
    };
    Some(token)
}

/// As text, what is not UTF-8 replaced. Looked at as a whole first: replacing goes byte by byte, which costs a
/// token of usual size more than all the rest of finding it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn parameters(request: &Head) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = request
        .path_and_query()
        .and_then(|path| path.split_once('?'))
        .map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    form_urlencoded::parse(query.as_bytes())
}

/// The path without these query parameters, everything else to the letter; `None` if none is there.
fn without_parameters(path_and_query: &str, names: &[&str]) -> Option<String> {
    let (path, query) = path_and_query.split_once('?')?;
    let is_named = |pair: &&str| {
        form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| names.contains(&&*name))
    };
    if !query.split('&').any(|pair| is_named(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_named(pair)).collect();
    Some(if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", kept.join("&"))
    })
}

/// Cookie pairs of every `Cookie` header (RFC 6265 section 4.2.1).
fn cookies(request: &Head) -> impl Iterator<Item = (&[u8], &[u8])> {
    request
        .all("cookie")
        .flat_map(|header| header.split(|b| *b == b';'))
        .filter_map(|pair| {
            let at = pair.iter().position(|b| *b == b'=')?;
            let (name, value) = pair.split_at_checked(at)?;
            let value = value.strip_prefix(b"=")?.trim_ascii();
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|v| v.strip_suffix(b"\""))
                .unwrap_or(value);
            Some((name.trim_ascii(), unquoted))
        })
}

fn strip_cookies<M>(request: &Head, names: &[&str], effects: &mut Effects<M>) {
    let is_named = |pair: &[u8]| {
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
        names.iter().any(|n| n.as_bytes() == name.trim_ascii())
    };
    let pairs = || {
        request
            .all("cookie")
            .flat_map(|header| header.split(|b| *b == b';'))
    };
    if !pairs().any(is_named) {
        return;
    }
    let kept: Vec<Cow<'_, str>> = pairs()
        .filter(|pair| !is_named(pair) && !pair.trim_ascii().is_empty())
        .map(|pair| text(pair.trim_ascii()))
        .collect();
    if kept.is_empty() {
        effects.remove_header("cookie");
    } else {
        effects.set_header("cookie", kept.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{HeaderEdit, NoMetric};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn sources() -> Vec<Source> {
        vec![
            Source::Header {
                name: "authorization".into(),
                scheme: Some("Bearer".into()),
            },
            Source::Header {
                name: "x-token".into(),
                scheme: None,
            },
            Source::Query("access_token".into()),
            Source::Cookie("session".into()),
        ]
    }

    fn find(pairs: &[(&str, &str)]) -> Result<Option<String>, Conflict> {
        let head: Head = pairs.iter().copied().collect();
        find_token(&head, &sources()).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn each_source_is_looked_at() {
        for pairs in [
            &[("authorization", "Bearer tok")][..],
            &[("Authorization", "bearer   tok ")],
            &[("x-token", "tok")],
            &[(":path", "/v1?a=1&access_token=tok#f")],
            &[(":path", "/v1?access%5Ftoken=t%6fk")],
            &[("cookie", "a=b; session=tok; c=d")],
            &[("cookie", "a=b"), ("cookie", "session=\"tok\"")],
        ] {
            assert_eq!(find(pairs), Ok(Some("tok".into())), "{pairs:?}");
        }
    }

    #[test]
    fn other_things_are_no_token() {
        for pairs in [
            &[("authorization", "Basic dXNlcg==")][..],
            &[("authorization", "Bearerx tok")],
            &[(":path", "/v1?xaccess_token=tok")],
            &[("cookie", "xsession=tok; session")],
            &[],
        ] {
            assert_eq!(find(pairs), Ok(None), "{pairs:?}");
        }
        assert_eq!(
            find(&[("authorization", "Bearer")]),
            Ok(Some(String::new()))
        );
    }

    #[test]
    fn one_token_in_two_places_is_fine_and_two_tokens_are_not() {
        assert_eq!(
            find(&[("authorization", "Bearer tok"), ("cookie", "session=tok")]),
            Ok(Some("tok".into()))
        );
        for pairs in [
            &[("authorization", "Bearer tok"), ("cookie", "session=other")][..],
            &[
                ("authorization", "Bearer tok"),
                ("authorization", "Bearer tok"),
            ],
            &[
                ("authorization", "Bearer tok"),
                ("Authorization", "Basic x"),
            ],
            &[(":path", "/?access_token=a&access_token=b")],
        ] {
            assert_eq!(find(pairs), Err(Conflict), "{pairs:?}");
        }
    }

    #[test]
    fn stripping_leaves_everything_else() {
        let head: Head = [
            (":path", "/v1?a=1&access_token=tok&b=%20&c"),
            ("authorization", "Bearer tok"),
            ("cookie", "a=b; session=tok"),
            ("cookie", "c=d"),
        ]
        .into_iter()
        .collect();
        let mut effects = Effects::<NoMetric>::default();
        strip(&head, &sources(), &mut effects);
        assert_eq!(
            effects.headers,
            [
                HeaderEdit::Remove("authorization".into()),
                HeaderEdit::Set(":path".into(), "/v1?a=1&b=%20&c".into()),
                HeaderEdit::Set("cookie".into(), "a=b; c=d".into()),
            ]
        );
    }

    #[test]
    fn stripping_the_only_parameter_and_cookie_leaves_none() {
        let head: Head = [(":path", "/v1?access_token=tok"), ("cookie", "session=tok")]
            .into_iter()
            .collect();
        let mut effects = Effects::<NoMetric>::default();
        strip(&head, &sources(), &mut effects);
        assert_eq!(
            effects.headers,
            [
                HeaderEdit::Set(":path".into(), "/v1".into()),
                HeaderEdit::Remove("cookie".into()),
            ]
        );
    }

    #[test]
    fn a_foreign_authorization_stays() {
        let head: Head = [("authorization", "Basic dXNlcg==")].into_iter().collect();
        let mut effects = Effects::<NoMetric>::default();
        strip(&head, &sources(), &mut effects);
        assert!(effects.headers.is_empty());
    }
}
