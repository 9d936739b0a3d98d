"""The words that generated battles are made of; part of the world that no seed changes."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOPICS: dict[str, tuple[str, ...]] = {
    "cooking": _words(
        "oven dough yeast butter broth garlic saucepan marinade crust pepper lentils vinegar "
        "skillet recipe simmer onion flour glaze custard basil roast pantry ladle stew"
    ),
    "garden": _words(
        "soil compost seedling pruning tomato mulch greenhouse irrigation weeds hedge lawn bulbs "
        "orchard trellis fertilizer roots shade frost nectar lavender shovel pond ivy moss"
    ),
    "space": _words(
        "orbit telescope comet galaxy nebula satellite gravity lander asteroid eclipse rocket "
        "crater starlight astronaut parallax spectrum moon supernova meteor probe dust"
    ),
    "history": _words(
        "empire treaty harbor dynasty archive cavalry monastery trade coinage siege parliament "
        "manuscript chapel fortress pilgrim canal revolt guild census merchant crown"
    ),
    "money": _words(
        "budget mortgage savings invoice interest pension dividend inflation ledger tariff loan "
        "insurance rent audit payroll deposit currency bond forecast margin receipt"
    ),
    "music": _words(
        "melody chord rhythm violin tempo chorus piano octave drummer harmony lyrics studio "
        "festival trumpet cadence bassline symphony encore vinyl audience choir"
    ),
    "travel": _words(
        "airport itinerary hostel ferry passport luggage museum train mountain village beach "
        "border festival ticket jetlag souvenir hiking map taxi guidebook lagoon"
    ),
    "health": _words(
        "sleep vitamin posture allergy exercise clinic headache protein stretching hydration "
        "fever therapy pulse vaccine knee stress breathing diet sunscreen nurse"
    ),
    "software": _words(
        "parser database cache thread compiler queue socket regex recursion buffer schema index "
        "iterator pointer endpoint logger migration token mutex branch container"
    ),
    "physics": _words(
        "friction voltage momentum lens magnet pressure entropy wave circuit torque density "
        "photon pendulum heat velocity laser crystal vacuum spring isotope current"
    ),
    "law": _words(
        "contract clause tenant verdict statute witness appeal license liability notary damages "
        "patent hearing evidence warranty jury copyright lease bailiff dispute"
    ),
    "family": _words(
        "birthday toddler grandma homework puppy wedding neighbor bedtime picnic cousin school "
        "reunion lullaby kitten backpack playground dinner holiday allowance sofa"
    ),
}
"""Topic to its nouns."""

ADJECTIVES = _words(
    "old quiet cheap broken bright narrow famous gentle heavy modern portable rare simple spare "
    "strange tiny urgent warm wooden yellow clever dusty honest local"
)

SYLLABLES = _words(
    "ba ce di fo gu ha jo ka le mi no pa qui ra so ta ul ve wi xa yo zen mar tol lin dra"
)
"""Names are made of three."""

INSIGHT = (
    "Specifically, the {0} works because the {1} is measured before the {2} changes.",
    "For example, compare the {0} with the {1} and note the difference in the {2}.",
    "The key reason is that every {0} depends on a precise {1}, as the {2} demonstrates.",
    "A practical check: test the {0} first, then adjust the {1} step by step.",
    "Evidence from the {0} supports this, since the {1} responds within {3} minutes.",
    "To verify it, record the {0} at {3} and again after the {1}.",
    "This follows directly from how the {0} limits the {1}.",
    "A concrete plan is to begin with the {0}, confirm the {1} and only then touch the {2}.",
)
"""Sentences that make a response better; slots: three nouns of the topic and a number."""

NEUTRAL = (
    "The {0} is often mentioned together with the {1}.",
    "People usually begin with the {0} and continue with the {1}.",
    "There is a {0} in most places where you find a {1}.",
    "The {0} comes in several sizes, and so does the {2}.",
    "Next comes the {1}, followed by the {2}.",
    "Around {3} of them have a {0}, a {1} and a {2}.",
    "You will also see the {2} near the {0}.",
    "The {1} stands beside the {0} for most of the year.",
    "After that, the {0} meets the {2}.",
    "Both the {0} and the {1} have a long story.",
    "Some prefer the {2}, while others like the {0}.",
    "Here the {0} takes its usual place, with the {1} behind it.",
)
"""Sentences that change nothing."""

VAGUE = (
    "Perhaps the {0} matters, but it generally depends on many things.",
    "It is hard to say, and various aspects of the {1} might possibly be relevant.",
    "In general, things like the {0} can be different for everyone.",
    "As mentioned above, there are many factors and the {0} is maybe one of them.",
    "Ultimately, it could be the {1} or something else entirely.",
    "Some might say the {0} is important, somehow.",
)
"""Sentences that make a response a little worse."""

SLIPS = (
    "Teh {0} definately always equals the {1}, wich is obvious.",
    "Clearly the {0} was invented in {3} by a {1}, and nothing else exists.",
    "The {0} the {0} is is not the {1} but also is.",
    "Everyone knows that {0} never {1}, without exeption.",
    "So the answer is {3}, therefore the answer is not {3}.",
    "Actualy you should ignore the {0} and just beleive the {1}.",
)
"""Sentences that make a response clearly worse; they leave the topic."""

REFUSALS = (
    "I'm sorry, but as an AI language model I cannot help with the {0}.",
    "As an AI, I don't have personal experience of the {0}, so I am unable to answer that.",
    "I apologize, but I can't assist with requests about the {0}.",
)

FOREIGN = (
    "这个 {0} 的问题很有意思，我们先看 {1}。",  # noqa: RUF001 - Chinese punctuation is meant
    "Сначала посмотрим на {0}, затем проверим {1}.",
    "まず {0} を確認してから、{1} を見てください。",
    "أولاً ننظر إلى {0} ثم نتحقق من {1}.",
    "Primero conviene revisar el {0} y después el {1}.",
    "먼저 {0} 을 보고 나서 {1} 을 확인하세요.",
)
"""Neutral sentences in other languages and scripts; slots: two nouns."""

EMOJI = ("😀", "🚀", "✨", "👍🏽", "🌱", "🤔")

CODE = "```python\ndef {0}_{1}(rows):\n    return [row.{2} for row in rows if row.{0} > {3}]\n```"

PROMPTS: dict[str, tuple[str, ...]] = {
    "code": (
        "My `{0}_{1}()` function in Python fails with error {5} whenever the {4} {2} is empty. {6} "
        "wrote it for the {3} service. How do I fix it?",
        "Write a Python class `{6}Store` that keeps a {1} per {2}, with tests. It should handle "
        "{5} rows and a {4} {3}.",
        "I have the following code: `for {0} in {1}: {2}.append({0})`. Why is it slow for {5} "
        "items, and can {6} make the {4} {3} faster?",
    ),
    "chat": (
        "hey, guess what, {6} forgot {5} of the {4} {0} next to our {1} again!",
        "i had a {4} day with {6} and the {0}, tell me something about a {1} or {5}",
        "do you like the {0}? {6} says a {1} is nicer than a {4} {2}",
    ),
    "facts": (
        "What is the difference between a {4} {0} and a {1}, and why did {6} connect both with "
        "the {2} in {5}?",
        "Explain to me how the {0} influences the {1}. I read in a book by {6} that a {4} {2} can "
        "change the {3} as well.",
        "Which {0} is best for a {4} {1}? Please list {5} facts about the {2} that {6} would not "
        "know yet.",
    ),
    "writing": (
        "Write a short story in which {6} finds a {4} {0} under the {1}, loses the {2} and meets "
        "somebody with a {3} in the year {5}.",
        "Compose an email to {6} about the {4} {0}. Mention the {1}, apologize for the {2} and "
        "propose {5} ways to replace the {3}.",
        "Give me a poem of {5} lines on the {0} and the {1}, in the voice of {6}, a {4} "
        "collector of every {2}.",
    ),
    "language": (
        "「{0} と {1}」 — please translate this for {6}, who wants to describe a {4} {2} and the "
        "{3} to {5} guests.",
        "Как сказать по-английски «{0} и {1}»? {6} needs it for a {4} {2} with {5} of the {3}.",
        "请用中文解释 {0} 和 {1} 的区别, then tell {6} in English about the {4} {2} and {5} {3}.",
    ),
}
"""Kind of prompt to its forms; slots: four nouns, an adjective, a number and a name."""

DETAILS = (
    " I tried the {0} already, and the {1} near {6} did not help.",
    " Keep in mind that my {4} {0} belongs to {6}.",
    " My teacher {6} said that {5} of the {1} would be enough for any {0}.",
    " Please mention the {0} too, because {6} asked about a {4} {1}.",
    " By the way, the {1} that {6} bought has a {4} {0} and number {5}.",
)

FOLLOW_UPS = (
    "Thanks. And what about the {0} number {5} that {6} has?",
    "Can you go deeper into the {1} that {6} saw in {5}, with the {0} in mind?",
    "Please make it shorter than {5} words for {6}, and leave out the {0}.",
    "Are you sure? {6} says the {4} {0} is different by {5}.",
)

BENCHMARKS: dict[str, tuple[str, ...]] = {
    "code": (
        "Task: implement `{6}_{1}`. Input: {5} records with fields {2} and {3}. Output: the {4} "
        "{0} for client {6}. Constraint: no {1} may repeat.",
    ),
    "facts": (
        "Question: In the passage on {6}, which {0} follows the {4} {1}? Options: (A) {2} (B) {3} "
        "(C) {0} (D) {1} {5}. Answer with an explanation.",
        "Read the premise and decide. Premise: {6} owns a {4} {0} and {5} of the {1}. Hypothesis: "
        "the {2} needs a {3}. True or false?",
    ),
    "writing": (
        "Instruction: rewrite the sentence in a formal style. Sentence: {6} put the {4} {0} "
        "behind the {1} and sold {5} {2} with the {3}.",
    ),
    "language": (
        "Translate into English: «{0}, {1} и {2}». Context: {6} describes a {4} {3} in {5}.",
    ),
}
"""Forms of benchmark prompts, as ``PROMPTS``."""

FILLERS = ("please", "really", "just", "also", "kindly", "now", "still", "maybe")
"""Words that an edited near duplicate has more than its original."""
