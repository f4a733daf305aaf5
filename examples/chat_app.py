"""A chat application with OpenAI's library, as Open WebUI and its like call a provider.

    python examples/chat_app.py "Which planets have rings?"

It lists the models, streams an answer of "auto", asks for a title of the chat in the background,
and prints which model Routoo has chosen. ROUTOO_URL names the HTTP front of ``routoo serve``, or an
Envoy beside it; OPENAI_API_KEY is the key that your provider or Routoo's access settings ask for.
"""

from __future__ import annotations

import os
import sys

import openai

URL = os.environ.get("ROUTOO_URL", "http://127.0.0.1:8080")


def main(question: str) -> None:
    """Holds a chat of one turn."""
    client = openai.OpenAI(
        base_url=f"{URL}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none needed")
    )
    print("models:", ", ".join(model.id for model in client.models.list()))
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": question},
    ]
    opened = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=messages,
        stream=True,
        # Without it, OpenAI's streams do not tell what is to be booked.
        stream_options={"include_usage": True},
        # A limit that nine of ten answers keep.
        extra_headers={"x-routoo-max-latency-ms": "60000", "x-routoo-latency-percentile": "90"},
    )
    answer = ""
    for chunk in opened.parse():
        if chunk.choices:
            answer += chunk.choices[0].delta.content or ""
    print("answer:", answer)
    print("chosen:", opened.headers["x-routoo-model"])
    titled = client.chat.completions.create(
        model="auto",
        max_completion_tokens=1000,
        messages=[
            {
                "role": "user",
                "content": "Generate a concise title of 3 to 5 words for this chat:\n"
                f"USER: {question}\nASSISTANT: {answer}",
            }
        ],
    )
    print("title:", titled.choices[0].message.content)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "Which planets have rings?")
