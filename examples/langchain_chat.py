"""A chain of LangChain whose model is "auto": Routoo picks the model of each call.

    python examples/langchain_chat.py "What is the capital of France?"

``ChatOpenAI`` talks to the HTTP front of ``routoo serve``, or to an Envoy beside it, which
ROUTOO_URL names. What a call asks of the choice goes along as headers.
"""

from __future__ import annotations

import os
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

URL = os.environ.get("ROUTOO_URL", "http://127.0.0.1:8080")


@tool
def population(city: str) -> str:
    """Returns how many people live in a city."""
    return f"{city}: 2,100,000"


def main(question: str) -> None:
    """Asks once as a chain, streamed, and once with a tool."""
    model = ChatOpenAI(
        model="auto",
        base_url=f"{URL}/v1",
        api_key=SecretStr(os.environ.get("OPENAI_API_KEY", "none needed")),
        stream_usage=True,
        default_headers={"x-routoo-max-cost-usd": "0.5"},
        include_response_headers=True,
    )
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer in one sentence."), ("user", "{question}")]
    )
    chain = prompt | model | StrOutputParser()
    print("answer:", "".join(chain.stream({"question": question})))
    called = model.bind_tools([population]).invoke(question)
    print("chosen:", called.response_metadata["headers"]["x-routoo-model"])
    for call in called.tool_calls:
        print("tool:", population.invoke(call["args"]))


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is the capital of France?")
