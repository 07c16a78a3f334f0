"""The predictions and labels that the benchmarks of the monitor write."""

from pairs import WINDOW, Traffic, predictions, request_id, truth

from stream_router.adapters.avro.records import decode_prediction

NOW = 1_795_420_000_000


def decoded(count, **traffic):
    return [(number, decode_prediction(value)) for number, value in predictions(range(count), Traffic(**traffic), NOW)]


def test_a_tenth_is_canarys_and_a_tenth_of_each_lane_is_wrong():
    found = decoded(10_000, rollout=True)
    for lane, size in (("stable", 9_000), ("canary", 1_000)):
        wrong = [prediction.value != truth(number) for number, prediction in found if prediction.lane == lane]
        assert (len(wrong), sum(wrong)) == (size, size // 10)


def test_each_request_has_an_id_of_36_characters():
    ids = {prediction.request_id for _, prediction in decoded(10_000)}
    assert len(ids) == 10_000
    assert {len(name) for name in ids} == {36}
    assert {name for name in ids if name == request_id(7)}


def test_predictions_are_spread_over_the_windows_up_to_now():
    routed = [prediction.routed_at for _, prediction in decoded(100_000, windows=100)]
    assert len({at // WINDOW for at in routed}) == 100
    assert NOW - 100 * WINDOW < min(routed) <= max(routed) < NOW


def test_only_under_a_rollout_they_name_it():
    assert {prediction.rollout for _, prediction in decoded(10)} == {0}
    assert {(prediction.rollout, prediction.epoch) for _, prediction in decoded(10, rollout=True)} == {(1, 1)}
