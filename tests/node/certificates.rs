//! What a node tells of its certificates when it starts.

use std::time::{Duration, SystemTime};

use rcgen::date_time_ymd;

use super::certs::THIS_HOST;
use super::cluster::{CALM, Cluster};

#[test]
fn a_node_warns_of_the_intermediate_certificate_that_ends_before_its_own() {
    let ids = ["1", "2", "3"];
    let mut cluster = Cluster::planned(&ids, CALM);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(9 * 86_400 + 3600);
    cluster.plan.certs = Some(cluster.ca.sign_below("below", &THIS_HOST, |params| params.not_after = end));
    cluster.start_all();
    cluster.leader();
    for id in ids {
        cluster.processes[id].wait_until_it_mentions(&["WARN", "the intermediate certificate CN=nodes", "9 days"]);
    }
}
