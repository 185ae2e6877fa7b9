#[test]
fn probe() {
    for k in [14usize, 16, 17, 18] {
        let n = 1usize << k;
        for (name, text) in [
            ("[", "[".repeat(n)),
            ("{a: ", "{a: ".repeat(n / 4)),
            ("- ", "- ".repeat(n / 2)),
            ("? ", "? ".repeat(n / 2)),
            (
                "aliases",
                format!(
                    "insecure: true\nnodes: {{ 1: &n {{ addr: a, port: 1 }}{} }}",
                    ", 2: *n".repeat(n / 7)
                ),
            ),
            (
                "anchors",
                format!(
                    "nodes: [{}]",
                    (0..n / 10)
                        .map(|i| format!("&a{i} x, "))
                        .collect::<String>()
                ),
            ),
            ("tags", "!a ".repeat(n / 3)),
            ("long", "a".repeat(n)),
            ("lines", "a:\n".repeat(n / 3)),
            ("commas", format!("[{}]", "a,".repeat(n / 2))),
        ] {
            let s = std::time::Instant::now();
            let r = super::Config::from_yaml_str(&text)
                .expect_err("bad")
                .to_string();
            eprintln!("{k} {name}: {:?} {}", s.elapsed(), &r[..r.len().min(70)]);
        }
    }
}
