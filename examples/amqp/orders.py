"""Orders by AMQP through a sidecar, in plain pika: nothing here knows of the mesh.

    orders.py publish     an order every 20 ms, each until the broker has confirmed it
    orders.py consume     says which orders come

AMQP_URL is the sidecar's local port, such as amqp://guest:guest@127.0.0.1:5673/?heartbeat=30
"""
import os
import sys
import time

import pika

QUEUE = "orders"


def publish():
    number = 1  # stays the same until it is confirmed

    def work(connection, channel):
        nonlocal number
        channel.confirm_delivery()
        while True:
            properties = pika.BasicProperties(message_id=str(number), delivery_mode=pika.DeliveryMode.Persistent)
            channel.basic_publish("", QUEUE, b"a book", properties, mandatory=True)  # returns with the confirm
            print("published", number, flush=True)
            number += 1
            connection.sleep(0.02)  # not time.sleep: this one answers heartbeats

    return work


def consume():
    seen = set()  # an order whose acknowledgement was lost comes again

    def work(connection, channel):
        channel.basic_qos(prefetch_count=50)
        for method, properties, body in channel.consume(QUEUE):
            again = properties.message_id in seen
            seen.add(properties.message_id)
            print("order", properties.message_id, "again" if again else "is new", flush=True)
            channel.basic_ack(method.delivery_tag)

    return work


def run(work):
    pause = 0.5
    while True:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True)
            print("connected", flush=True)
            pause = 0.5
            work(connection, channel)
        except (pika.exceptions.AMQPError, OSError) as error:
            print("not connected:", repr(error), flush=True)
        time.sleep(pause)
        pause = min(2 * pause, 5)


if __name__ == "__main__":
    if sys.argv[1:] not in (["publish"], ["consume"]):
        sys.exit(__doc__)
    try:
        run({"publish": publish, "consume": consume}[sys.argv[1]]())
    except KeyboardInterrupt:
        pass
