//! How it is written: the styles, and text that fits and stays text.

use std::time::Duration;

use crate::harness::clock::Real;

/// An average letter of the small font, rather too wide than too narrow.
pub(super) const LETTER: f64 = 6.3;
/// A violation can say much: the rest is told on hovering.
const WRAPPED_LINES: usize = 2;
const WRAP: usize = 190;

pub(super) const STYLE: &str = "
text{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:#222}
.name{font-size:15px;font-weight:bold}.node{font-size:14px;font-weight:bold}.about{font-size:10px;fill:#555}
path.axis{stroke:#e4e4e4;fill:none}text.axis{font-size:10px;fill:#555;text-anchor:middle}
.row path{stroke:#bbb}.unseen{fill:#f3f3f3}
.follower rect{fill:#dce6ef}.candidate rect{fill:#f0e442}.leader rect{fill:#0072b2}.leader text{fill:#fff}
.starting rect{fill:#fff;stroke:#999}
.paused rect{fill:url(#stripes)}.down rect{fill:#fff;stroke:#999;stroke-dasharray:3 2}
.paused text,.down text,.ending text{paint-order:stroke;stroke:#fff;stroke-width:3px}
.lease rect{fill:#004d3a}.lease text{fill:#fff}.ending rect{fill:url(#ending);stroke:#004d3a}
.both rect{fill:#d00;fill-opacity:.25;stroke:#d00;stroke-width:2}
.done path{fill:#222}.done .stem{fill:none;stroke:#222;stroke-width:.6}
.done text{font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:3px}
.Heartbeat,.PreVote,.Vote,.Release,.key{fill:none;stroke-width:1.4}
.Heartbeat{stroke:#c4c4c4;stroke-width:.7}.Heartbeat.news{stroke:#777;stroke-width:1}
.PreVote{stroke:#3a9bd9}.Vote{stroke:#aa3f8a;stroke-width:2}.Release{stroke:#e69f00;stroke-width:2}.key{stroke:#222}
.reply{stroke-dasharray:5 2}path:hover{stroke-width:4}
.wrong text{fill:#d00;font-size:13px;font-weight:bold;paint-order:stroke;stroke:#fff;stroke-width:3px}
.wrong path{stroke:#d00;stroke-width:1.5;fill:none}
";

pub(super) const DEFS: &str = "<pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
    patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#eee\"/><rect width=\"2\" height=\"6\" \
    fill=\"#888\"/></pattern><pattern id=\"ending\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
    patternTransform=\"rotate(-45)\"><rect width=\"5\" height=\"5\" fill=\"#fff\"/><rect width=\"2.5\" height=\"5\" \
    fill=\"#004d3a\"/></pattern>";

pub(super) fn millis(at: Real) -> String {
    match at {
        Real::NEVER => "for ever".to_owned(),
        Real(nanos) => format!("{:.3} ms", Duration::from_nanos(nanos).as_secs_f64() * 1e3),
    }
}

pub(super) fn wide(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() {
        count if count <= most => text.to_owned(),
        _ => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The first lines of a long text.
pub(super) fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.len() + word.len() >= WRAP {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    if lines.len() > WRAPPED_LINES {
        lines.truncate(WRAPPED_LINES);
        lines[WRAPPED_LINES - 1] += " …";
    }
    lines.iter().map(|line| shortened(line, WRAP + 2)).collect()
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            // XML has no way to write these.
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
