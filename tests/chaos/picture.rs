//! A round to look at: one self-contained SVG.
//!
//! Time goes to the right, and each node is a row: words for what was done to it, and a bar for each process that acts,
//! with its token. Two bars of different tokens above one another are what must never be.

use std::fmt::Write;

use super::history::History;

const LEFT: f64 = 70.0;
const ROW: f64 = 190.0;
const PER_SECOND: f64 = 220.0;
const STYLE: &str = "text{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:#222}.node{font-size:15px;font-weight:bold}\
    .bar{fill:#0072b2}.refused{stroke:#d00;stroke-width:2}.wrong{fill:#d00;font-weight:bold}.axis{stroke:#ddd}";
/// Words take turns in this many lines.
const LINES: usize = 9;

pub(crate) fn draw(history: &History, violations: &[String]) -> String {
    let end = history.acts.iter().map(|act| act.received).chain(history.marks.iter().map(|mark| mark.at)).max();
    let end = history.millis(end.unwrap_or(history.start));
    let x = |at: u64| LEFT + history.millis(at) * PER_SECOND / 1000.0;
    let rows = history.nodes.len() + 1;
    let top = 20.0 * (violations.len() as f64 + 1.0) + 20.0;
    let (width, height) = (LEFT + end * PER_SECOND / 1000.0 + 300.0, top + ROW * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\"><style>{STYLE}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (line, violation) in violations.iter().enumerate() {
        let y = 20.0 * (line as f64 + 1.0);
        writeln!(svg, "<text class=\"wrong\" x=\"10\" y=\"{y}\">{}</text>", escaped(violation)).unwrap();
    }
    for second in 0..=(end / 1000.0) as u64 {
        let at = LEFT + second as f64 * PER_SECOND;
        writeln!(
            svg,
            "<path class=\"axis\" d=\"M{at} {top}V{height}\"/><text x=\"{at}\" y=\"{top}\">{second} s</text>"
        )
        .unwrap();
    }
    for row in 0..rows {
        let y = top + ROW * row as f64 + 30.0;
        let name = row.checked_sub(1).map(|index| history.nodes[index].as_str());
        writeln!(svg, "<text class=\"node\" x=\"10\" y=\"{y}\">{}</text>", name.unwrap_or("all")).unwrap();
        let marks = history.marks.iter().filter(|mark| mark.node.as_deref() == name);
        for (line, mark) in marks.enumerate() {
            let (at, y) = (x(mark.at), y + 13.0 * (line % LINES) as f64);
            let text = escaped(&mark.text);
            let short: String = mark.text.chars().take(60).collect();
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{y}\">|{}<title>{text}</title></text>", escaped(&short)).unwrap();
        }
        let y = y + 13.0 * LINES as f64;
        let lives: Vec<_> = history.lives().into_iter().filter(|life| Some(life.node.as_str()) == name).collect();
        for (line, life) in lives.iter().enumerate() {
            let (at, y) = (x(life.first), y + 11.0 * (line % 3) as f64);
            let wide = (x(life.last) - at).max(1.0);
            let about = format!("token {}, process {}, {} acts", life.token, life.pid, life.acts);
            writeln!(
                svg,
                "<rect class=\"bar\" x=\"{at:.1}\" y=\"{y}\" width=\"{wide:.1}\" height=\"9\">\
                <title>{about}</title></rect><text x=\"{:.1}\" y=\"{}\">{}</text>",
                at + wide + 2.0,
                y + 9.0,
                life.token
            )
            .unwrap();
        }
        for act in history.acts.iter().filter(|act| act.refused && Some(act.node.as_str()) == name) {
            let at = x(act.received);
            writeln!(svg, "<path class=\"refused\" d=\"M{at:.1} {y}v33\"/>").unwrap();
        }
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[test]
fn a_picture_is_whole_and_shows_tokens_and_what_is_wrong() {
    use super::resource::Act;
    let mut history = History::new(vec!["1".into(), "2".into()]);
    let now = history.start;
    history.mark(Some("1"), "FAULT a < b & c");
    for (node, token, refused) in [("1", 7, false), ("2", 8, false), ("1", 7, true)] {
        let at = now + token * 1_000_000;
        history.acts.push(Act { node: node.into(), token, pid: 1, at, until: 1, received: at, refused });
    }
    let svg = draw(&history, &["two at once".into()]);
    let parsed = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> = parsed.descendants().filter_map(|node| node.text()).collect();
    for part in ["two at once", "7", "8", "|FAULT a < b & c"] {
        assert!(texts.contains(&part), "{part}: {texts:?}");
    }
    assert_eq!(parsed.descendants().filter(|node| node.attribute("class") == Some("refused")).count(), 1);
}
