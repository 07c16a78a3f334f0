import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;

/** The monitor's join in Kafka Streams: exactly once, both sides kept for an hour. The values are not decoded. */
public final class StreamsJoin {
    private static byte[] both(byte[] prediction, byte[] label) {
        byte[] joined = new byte[prediction.length + label.length];
        System.arraycopy(prediction, 0, joined, 0, prediction.length);
        System.arraycopy(label, 0, joined, prediction.length, label.length);
        return joined;
    }

    /** Arguments: brokers, route, threads, milliseconds between commits, folder for state. */
    public static void main(String[] args) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1] + ".streams");
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[2]);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[3]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "5000");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5");

        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> predictions = builder.stream(args[1] + ".predictions");
        KStream<byte[], byte[]> labels = builder.stream(args[1] + ".ground-truth");
        predictions
                .join(labels, StreamsJoin::both, JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofHours(1)))
                .to(args[1] + ".requests.stable");
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
