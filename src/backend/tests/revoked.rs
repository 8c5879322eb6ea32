//! A backend whose certificate the project's CA has revoked.

use super::*;
use crate::pki::Serial;

#[tokio::test]
async fn a_revoked_certificate_is_refused_wherever_anything_is_verified() {
    let pki = Pki::new(&["127.0.0.1"]);
    let serial = |der: &[u8]| Serial::of_certificate(der).unwrap();
    let (ours, others) = (
        serial(pki.identity.leaf_der()),
        serial(Identity::throwaway(Timestamp::now()).unwrap().leaf_der()),
    );
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        for (revoked, is_refused) in [
            (vec![], false),
            (vec![others.clone()], false),
            (vec![others.clone(), ours.clone()], true),
        ] {
            let roots = TrustedRoots::from_file(&pki.roots).unwrap();
            let tls = BackendTls::new(mode, Some(&roots.without(revoked))).unwrap();
            let (dialled, _) = dial(&pki.identity, "127.0.0.1", &tls).await;
            match dialled {
                Ok(_) => assert!(!is_refused, "{mode}"),
                Err(error) => {
                    assert!(is_refused && error.is_tls(), "{error}");
                    let says = error.to_string();
                    assert!(
                        says.contains("Revoked") && says.contains("ca issue"),
                        "{says}"
                    );
                }
            }
        }
    }
}
