//! Names of Workloads and PodGroups. They are the names that the built-in controller gives, so that either controller
//! finds the objects that the other one created.

use crate::runtime::identity::Uid;

/// Maximum length of the name of an object.
const MAX_NAME: usize = 253;
/// Characters of a hash in a name, as `SafeEncodeString` of apimachinery uses them.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Returns the name of the Workload of a Job.
pub fn workload(job: &str, uid: &Uid) -> String {
    // The built-in controller hashes the UID as Go prints it with its type.
    let hash = hash(&["(types.UID)", &uid.text()]);
    format!("{}-{hash}", cut(job, MAX_NAME - hash.len() - 1))
}

/// Returns the name of the only template in the Workload of a Job.
pub fn template(job: &str) -> String {
    format!("{job}-pgt-0")
}

/// Returns the name of the PodGroup of a Workload and a template. Of two long names, each keeps half of the room.
pub fn pod_group(workload: &str, template: &str) -> String {
    let hash = hash(&[workload, template]);
    let room = MAX_NAME - hash.len() - 2;
    let half = room / 2;
    let (workload, template) = if workload.len() + template.len() <= room {
        (workload, template)
    } else if workload.len() <= half {
        (workload, cut(template, room - workload.len()))
    } else if template.len() <= half {
        (cut(workload, room - template.len()), template)
    } else {
        (cut(workload, room - half), cut(template, half))
    };
    format!("{workload}-{template}-{hash}")
}

fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length.min(text.len()))]
}

/// Returns the 32-bit FNV-1a hash of these texts in the characters that names use.
fn hash(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected names were computed by the functions of the built-in controller in Go.
    #[test]
    fn names_are_those_of_the_builtin_controller() {
        let cases = [
            ("6f1f9f2c-1e1b-4f0b-9a56-0d4a3c1f2b7e", "train-6d8857fb54", "train-6d8857fb54-train-pgt-0-7bd74576dd"),
            ("00000000-0000-4000-8000-000000000000", "train-776ccc7499", "train-776ccc7499-train-pgt-0-7f9b65d8f9"),
            ("job-uid", "train-7dccc85c97", "train-7dccc85c97-train-pgt-0-68f86d4ddc"),
        ];
        for (uid, expected, group) in cases {
            let workload = workload("train", &uid.into());
            assert_eq!(workload, expected);
            assert_eq!(pod_group(&workload, &template("train")), group);
        }
    }

    #[test]
    fn long_names_are_cut_as_the_builtin_controller_cuts_them() {
        let repeated = |text: &str, count: usize| text.repeat(count);
        assert_eq!(workload(&repeated("j", 260), &"job-uid".into()), format!("{}-7dccc85c97", repeated("j", 242)));
        let cases = [
            (repeated("a", 200), repeated("b", 200), (121, 120, "579c6b758f")),
            ("short".to_owned(), repeated("b", 300), (5, 236, "5b8d8d8497")),
            (repeated("a", 253), "short".to_owned(), (236, 5, "5857b5957d")),
        ];
        for (workload, template, (first, second, hash)) in cases {
            let name = pod_group(&workload, &template);
            assert_eq!(name, format!("{}-{}-{hash}", &workload[..first], &template[..second]));
            assert_eq!(name.len(), MAX_NAME);
        }
    }
}
