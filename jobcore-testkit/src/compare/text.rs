//! How two texts differ, without what they share.

/// How many lines around a difference are shown.
const AROUND: usize = 12;

/// The lines around the first difference of two texts of many lines, and what stands there in each.
pub(super) fn difference(memory: &str, tested: &str) -> String {
    let (memory, tested): (Vec<&str>, Vec<&str>) = (memory.lines().collect(), tested.lines().collect());
    let same = memory.iter().zip(&tested).take_while(|(a, b)| a == b).count();
    let before = memory[same.saturating_sub(AROUND)..same]
        .iter()
        .map(|line| format!("  {line}\n"));
    let part = |mark: &str, lines: &[&str]| -> String {
        let lines = lines[same..].iter().take(AROUND);
        lines.map(|line| format!("{mark} {line}\n")).collect()
    };
    let shared: String = before.collect();
    format!(
        "{shared}{}{}(- memory, + tested)",
        part("-", &memory),
        part("+", &tested)
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_first_difference_is_shown() {
        let text = super::difference("same\nold\n", "same\nnew\nmore\n");
        assert_eq!(text, "  same\n- old\n+ new\n+ more\n(- memory, + tested)");
    }
}
